# SPDX-License-Identifier: Apache-2.0
"""What every folder's tests may ask for. It is written in imago_server.py, a module with a name of its own, since
folders have conftest.py too and tests import names from it."""
import pytest

pytest.register_assert_rewrite("imago_server")
from imago_server import *  # noqa: E402,F403 - fixtures and hooks are found here
