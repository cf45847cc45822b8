# SPDX-License-Identifier: Apache-2.0
"""What a disk holds after the power was lost, made of what forget.c noted while the server ran.

A disk keeps what was synced. Of the rest it may keep any part: `dice` decides for each name and each sector, and
without dice nothing of it is left."""
import os
from pathlib import Path

SECTOR = 512


class Disk:
    """A folder under forget.c. lose() replaces what is in it."""

    def __init__(self, place):
        self.place = place
        self.root = place / "disk"
        self.root.mkdir()
        self.count = 0
        self.trouble_file = place / "trouble"
        self.trouble(None)

    def environment(self, library, ignore=None):
        """For a server's start. Its memory of what is synced begins with it."""
        self.count += 1
        self.shadow = self.place / f"shadow-{self.count}"
        self.shadow.mkdir()
        more = {"FORGET_IGNORE": ignore} if ignore else {}
        return {"LD_PRELOAD": str(library), "FORGET_ROOT": str(self.root), "FORGET_SHADOW": str(self.shadow),
                "FORGET_TROUBLE": str(self.trouble_file)} | more

    def trouble(self, kind):
        """full, readonly, syncs or None: from now on."""
        part = self.place / "trouble.part"
        part.write_text(kind or "")
        part.rename(self.trouble_file)

    def lose(self, dice=None):
        """The power goes, after the server was killed."""
        left = self.place / f"left-{self.count}"
        left.mkdir()
        self._folder(self.root.stat().st_ino, self.root, left, dice)
        remove_tree(self.root)
        remove_tree(self.shadow)
        left.rename(self.root)

    def _synced_names(self, inode):
        try:
            lines = (self.shadow / "folders" / str(inode)).read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {name: int(number) for number, name in (line.split(" ", 1) for line in lines)}

    def _folder(self, inode, live, into, dice):
        synced = self._synced_names(inode)
        now = {entry.name: entry.inode() for entry in os.scandir(live)} if live is not None else {}
        for name in synced.keys() | now.keys():
            if name in synced and synced[name] == now.get(name):
                choices = [name]
            elif name in synced:
                choices = [None] + ([name] if name in now else [])
                # What was there before stays, or what was done to it stays.
                if dice is None or dice.random() < 0.5:
                    self._entry(synced[name], None, into / name, dice)
                    continue
            else:
                choices = [None, name]
            chosen = choices[-1] if dice and dice.random() < 0.5 else choices[0]
            if chosen:
                self._entry(now[name], live / name, into / name, dice)

    def _entry(self, inode, live, into, dice):
        synced = self.shadow / "files" / str(inode)
        if live is not None and live.is_symlink():
            into.symlink_to(os.readlink(live))
        elif live is not None and live.is_dir() or (self.shadow / "folders" / str(inode)).exists():
            into.mkdir(0o700)
            self._folder(inode, live, into, dice)
        else:
            old = synced.read_bytes() if synced.exists() else b""
            new = live.read_bytes() if live is not None else old
            into.write_bytes(mixed(old, new, dice))
            into.chmod(0o600)


def mixed(old, new, dice):
    if dice is None or old == new:
        return old
    size = dice.choice([len(old), len(new), dice.randint(min(len(old), len(new)), max(len(old), len(new)))])
    parts = []
    for at in range(0, size, SECTOR):
        mine, other = old[at:at + SECTOR], new[at:at + SECTOR]
        parts.append((mine if mine == other or dice.random() < 0.5 else other).ljust(SECTOR, b"\0"))
    return b"".join(parts)[:size]


def remove_tree(folder):
    if not folder.exists():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
