"""One small house that every test may edit, and what it says of itself."""

from collections.abc import Iterator

import pytest

from tests.harness.daemon import Daemon

ECHO = {"connections": {"offline": {"api_type": "echo"}}}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on an offline connection with one model, for all tests of a module: each edits files of its own."""
    daemon = Daemon(tmp_path_factory.mktemp("house"), ECHO, files={"models/first.yaml": "name: first\n"}).start()
    try:
        yield daemon
        daemon.stop()
    finally:
        daemon.kill()
