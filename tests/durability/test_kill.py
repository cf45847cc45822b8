# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments, round after round on the same data: what was answered stays, and nothing is billed twice.

  ROUNDS=200 SEED=7 build/venv/bin/python -m pytest -s tests/durability/test_kill.py
"""
from rounds import SETTINGS, Rounds


def test_nothing_answered_is_lost_or_billed_twice(start, tmp_path, small_photos):
    rounds = Rounds(tmp_path, small_photos)
    for folder, count in rounds.folders():
        for number in range(count):
            if number > 0 and rounds.dice.random() < 0.2:
                rounds.kill_at_the_start(**SETTINGS)
            server = start(folder=folder, **SETTINGS)
            rounds.prove_server(server)
            rounds.use_and_kill(server)
            rounds.prove_disk(folder / "data")
        server = start(folder=folder, **SETTINGS)
        rounds.finish(server, folder / "data")
