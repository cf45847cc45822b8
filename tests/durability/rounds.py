# SPDX-License-Identifier: Apache-2.0
"""Rounds of use, sudden death and proof, on the same data.

  ROUNDS  how many  [12]
  SEED    of the clients' choices and the moments of death; printed  [a new one]
"""
import os
import random
import signal
import subprocess
import threading
import time

from imago_server import IMAGO, environment, eventually, place, serve_command, serve_settings
from load import Load
from power import Disk, remove_tree
from proof import prove_disk, prove_history, prove_server
from told import Told

FORGET = place("IMAGO_FORGET", IMAGO.parent / "tests/durability/libforget.so")
ROUNDS_PER_FOLDER = 25  # then the data begin anew, so that a proof stays quick
ANSWERS_MAX = 80  # until death
SAMPLE = 30
# Short, so that servers take up what a dead one held within a round.
SETTINGS = {"job_lease": "2s", "job_retry": "200ms"}


class Rounds:
    def __init__(self, tmp_path, photos, default_count=12):
        self.count = int(os.environ.get("ROUNDS", default_count))
        self.seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000_000))
        print(f"SEED={self.seed} ROUNDS={self.count}", flush=True)
        self.dice = random.Random(self.seed)
        self.tmp_path, self.photos = tmp_path, photos
        self.slowest_start = 0
        self.done = {"rounds": 0, "predictions": 0, "erased": 0, "jobs": 0, "unanswered": 0, "refused": 0}

    def folders(self):
        """(folder, how many rounds on it), everything new in each."""
        left = self.count
        while left > 0:
            self.folder = self.tmp_path / f"folder-{left}"
            self.folder.mkdir()
            self.told = Told()
            self.load = Load(self.told, self.photos, self.dice.random())
            self.hashed, self.seen, self.rows = set(), set(), 0
            count = min(left, ROUNDS_PER_FOLDER)
            yield self.folder, count
            self.add_up()
            left -= count

    def wait_a_moment(self, seconds):
        """At most so long: the moment of death is part of what is drawn."""
        threading.Event().wait(self.dice.random() * seconds)

    def use_and_kill(self, server):
        enough = self.told.count_answers() + self.dice.randint(1, ANSWERS_MAX)
        self.load.start(server)
        eventually(lambda: self.told.count_answers() >= enough or self.told.wrong or not server.is_running(),
                   f"{enough} answers")
        self.wait_a_moment(0.03)
        self.kill(server)
        self.load.join()

    def kill(self, server):
        assert server.is_running(), server.text[-6000:]
        server.expected_status = -signal.SIGKILL
        server.kill()

    def kill_at_the_start(self, env=None, **settings):
        """While it opens and repairs what the last one left."""
        process = subprocess.Popen(serve_command(serve_settings(self.folder, settings)), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(**(env or {})))
        self.wait_a_moment(0.3)
        process.kill()
        process.wait()

    def prove_disk(self, data):
        self.rows = prove_disk(data, self.told, self.tmp_path / "copy", self.hashed)
        self.done["rounds"] += 1

    def prove_server(self, server):
        """What was told since the last time, and some of what came before."""
        fresh = self.told.predictions.keys() - self.seen
        old = sorted(self.seen)
        self.dice.shuffle(old)
        images = sorted(self.told.images)
        self.dice.shuffle(images)
        prove_server(server, self.told, sorted(fresh)[:2 * SAMPLE] + old[:SAMPLE], images[:SAMPLE])
        self.seen |= fresh
        prove_history(server, self.told, self.rows)

    def prove_ledger(self, data):
        """By the program's own proof, beside a server that runs or without one."""
        done = subprocess.run([IMAGO, "usage", "verify", "--data", data], capture_output=True, text=True,
                              env=environment(), check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def prove_reading(self, server):
        """Beside the clients: what they were told of is still to be had."""
        with self.told.lock:
            kept = sorted(self.told.kept())
        prove_server(server, self.told, self.dice.sample(kept, min(SAMPLE, len(kept))), [])

    def finish(self, server, data):
        """With the last server on a folder: what is under way ends, and everything is proven once more."""
        self.prove_server(server)
        self.load.settle(server)
        self.prove_ledger(data)
        server.stop()
        self.prove_disk(data)

    def add_up(self):
        told = self.told
        self.done["predictions"] += len(told.predictions)
        self.done["erased"] += len(told.erased)
        self.done["jobs"] += len(told.jobs)
        self.done["refused"] += told.refused
        self.done["unanswered"] += sum(request.results is None for request in told.requests.values())
        print(f"SEED={self.seed}: " + ", ".join(f"{count} {what}" for what, count in self.done.items()), flush=True)


class DiskRounds(Rounds):
    """On a disk that forgets and fails as it is told to."""

    def __init__(self, disk_place, cache, *rest, **more):
        super().__init__(*rest, **more)
        self.disk_place, self.cache = disk_place, cache
        self.turns = 0

    def new_disk(self):
        self.turns += 1
        folder = self.disk_place / f"{self.turns}"
        folder.mkdir()
        return Disk(folder)

    def serve(self, start, disk, ignore=None, sync="all"):
        """The cache of compiled models is elsewhere: it may be lost at any time."""
        data = disk.root / "data"
        if data.exists():
            if not (data / "cache").is_symlink():
                remove_tree(data / "cache")
            (data / "cache").unlink(missing_ok=True)
            (data / "cache").symlink_to(self.cache)
        return start(folder=disk.root, cold=True, env=disk.environment(FORGET, ignore),
                     images=f"file:{data}/images?sync={sync}", **SETTINGS)
