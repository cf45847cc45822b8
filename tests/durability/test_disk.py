# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, read-only, or fails to sync, under load: what cannot be kept is refused, reading goes on, and once
the trouble is over so does the server, with nothing lost and nothing billed that was not answered."""
import pytest
from imago_server import eventually
from rounds import DiskRounds

REFUSED = 30


def wait_for_refusals(rounds, server):
    enough = rounds.told.refused + REFUSED
    eventually(lambda: rounds.told.refused >= enough or rounds.told.wrong or not server.is_running(), "refusals")


def wait_for_answers(rounds, server):
    enough = rounds.told.count_answers() + REFUSED
    eventually(lambda: rounds.told.count_answers() >= enough or rounds.told.wrong or not server.is_running(), "answers")


@pytest.mark.parametrize("trouble", ["full", "readonly", "syncs"])
def test_the_server_outlives_a_bad_disk(start, tmp_path, small_photos, warm_cache, disk_place, trouble):
    rounds = DiskRounds(disk_place, warm_cache, tmp_path, small_photos, default_count=3)
    for folder, count in rounds.folders():
        disk = rounds.new_disk()
        for _ in range(count):
            server = rounds.serve(start, disk)
            rounds.load.start(server)
            wait_for_answers(rounds, server)
            disk.trouble(trouble)
            wait_for_refusals(rounds, server)
            rounds.prove_reading(server)
            disk.trouble(None)
            wait_for_answers(rounds, server)
            rounds.load.join()
            assert server.is_running(), server.text[-4000:]
            rounds.kill(server)
            disk.lose(rounds.dice if rounds.dice.random() < 0.5 else None)
            rounds.prove_disk(disk.root / "data")
        server = rounds.serve(start, disk)
        rounds.finish(server, disk.root / "data")
