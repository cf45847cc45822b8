# SPDX-License-Identifier: Apache-2.0
"""Loss of power at random moments: kill -9, and whatever was not synced may be gone (forget.c, power.py).

  ROUNDS=200 SEED=7 build/venv/bin/python -m pytest -s tests/durability/test_power.py
"""
import pytest
from rounds import DiskRounds


@pytest.mark.parametrize("sync", ["all", "each"])
def test_what_was_answered_outlives_a_loss_of_power(start, tmp_path, small_photos, warm_cache, disk_place, sync):
    rounds = DiskRounds(disk_place, warm_cache, tmp_path, small_photos, default_count=6)
    for folder, count in rounds.folders():
        disk = rounds.new_disk()
        for number in range(count):
            server = rounds.serve(start, disk, sync=sync)
            rounds.prove_server(server)
            rounds.use_and_kill(server)
            # All of it the first time: the folders are new then.
            disk.lose(rounds.dice if number > 0 and rounds.dice.random() < 0.6 else None)
            rounds.prove_disk(disk.root / "data")
        server = rounds.serve(start, disk)
        rounds.finish(server, disk.root / "data")


@pytest.mark.parametrize("ignore", ["files", "folders", "all"])
def test_a_server_that_does_not_sync_is_found_out(start, tmp_path, small_photos, warm_cache, disk_place, ignore):
    rounds = DiskRounds(disk_place, warm_cache, tmp_path, small_photos, default_count=1)
    rounds.count = 1
    for _ in rounds.folders():
        disk = rounds.new_disk()
        rounds.use_and_kill(rounds.serve(start, disk, ignore=ignore))
        disk.lose()
        with pytest.raises((AssertionError, OSError)) as found:
            rounds.prove_disk(disk.root / "data")
        print(f"without syncing {ignore}: {found.value}")
