# SPDX-License-Identifier: Apache-2.0
import pytest

from echo_client import Server


@pytest.fixture(scope="session")
def server():
    """Shared, with long timeouts. No test may leave it worse than it was."""
    started = Server()
    yield started
    started.stop()


@pytest.fixture
def start():
    """start(setting=number, ...) runs one more server for the test."""
    started = []

    def run(**settings):
        started.append(Server(**settings))
        return started[-1]

    yield run
    for one in started:
        one.stop()
