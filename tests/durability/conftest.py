# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from imago_server import IMAGO

ROOM = 256 << 20


@pytest.fixture
def disk_place():
    """A folder in memory for forget.c: there, an inode's number is not used twice."""
    program = IMAGO.read_bytes()
    if b"__asan_init" in program or b"__tsan_init" in program:
        pytest.skip("a sanitizer's library has to be loaded first")
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < ROOM:
        pytest.skip(f"{memory} is missing, or has not {ROOM >> 20} MiB free")
    with tempfile.TemporaryDirectory(prefix="imago-power-", dir=memory) as folder:
        yield Path(folder)
