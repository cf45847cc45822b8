# SPDX-License-Identifier: Apache-2.0
"""Loss of power at random moments: kill -9, and whatever was not synced may be gone (forget.c, power.py).

  ROUNDS=200 SEED=7 build/venv/bin/python -m pytest -s tests/durability/test_power.py
"""
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from imago_server import IMAGO, place
from power import Disk
from rounds import Rounds

FORGET = place("IMAGO_FORGET", IMAGO.parent / "tests/durability/libforget.so")
ROOM = 256 << 20


@pytest.fixture
def disk_place():
    """A folder in memory: there, an inode's number is not used twice."""
    program = IMAGO.read_bytes()
    if b"__asan_init" in program or b"__tsan_init" in program:
        pytest.skip("a sanitizer's library has to be loaded first")
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < ROOM:
        pytest.skip(f"{memory} is missing, or has not {ROOM >> 20} MiB free")
    with tempfile.TemporaryDirectory(prefix="imago-power-", dir=memory) as folder:
        yield Path(folder)


class PowerRounds(Rounds):
    def __init__(self, disk_place, cache, *rest, **more):
        super().__init__(*rest, **more)
        self.disk_place, self.cache = disk_place, cache
        self.turns = 0

    def new_disk(self):
        self.turns += 1
        folder = self.disk_place / f"{self.turns}"
        folder.mkdir()
        disk = Disk(folder)
        (disk.root / "data").mkdir(0o700)
        return disk

    def serve(self, start, disk, ignore=None, sync="auto"):
        """The cache of compiled models is elsewhere: it may be lost at any time."""
        data = disk.root / "data"
        settings = self.stores(data)
        settings["images"] += f"?sync={sync}"
        (data / "cache").unlink(missing_ok=True)
        (data / "cache").symlink_to(self.cache)
        return start(folder=disk.root, cold=True, env=disk.environment(FORGET, ignore), **settings)


@pytest.mark.parametrize("sync", ["all", "each"])
def test_what_was_answered_outlives_a_loss_of_power(start, tmp_path, small_photos, warm_cache, disk_place, sync):
    rounds = PowerRounds(disk_place, warm_cache, tmp_path, small_photos, default_count=6)
    for folder, count in rounds.folders():
        disk = rounds.new_disk()
        for number in range(count):
            server = rounds.serve(start, disk, sync=sync)
            rounds.prove_server(server)
            rounds.use_and_kill(server)
            disk.lose(rounds.dice if rounds.dice.random() < 0.6 else None)
            rounds.prove_disk(disk.root / "data")
        server = rounds.serve(start, disk)
        rounds.prove_server(server)
        server.stop()


@pytest.mark.parametrize("ignore", ["files", "folders", "all"])
def test_a_server_that_does_not_sync_is_found_out(start, tmp_path, small_photos, warm_cache, disk_place, ignore):
    rounds = PowerRounds(disk_place, warm_cache, tmp_path, small_photos, default_count=1)
    rounds.count = 1
    for _ in rounds.folders():
        disk = rounds.new_disk()
        rounds.use_and_kill(rounds.serve(start, disk, ignore))
        disk.lose()
        with pytest.raises((AssertionError, OSError)) as found:
            rounds.prove_disk(disk.root / "data")
        print(f"without syncing {ignore}: {found.value}")
