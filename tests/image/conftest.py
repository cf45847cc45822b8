# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

sys.path.insert(0, __file__.rpartition("/")[0])
from fit import Fit  # noqa: E402


@pytest.fixture(scope="session")
def fit(tmp_path_factory):
    tool = Fit(tmp_path_factory.mktemp("fit"))
    yield tool
    tool.close()
