"""A small configuration that every test may edit, and the daemon that serves it."""

from collections.abc import Iterator

import pytest

from tests.harness.daemon import Daemon

ECHO = {"connections": {"offline": {"api_type": "echo"}}}


@pytest.fixture(scope="module")
def configured_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with an offline connection and one model, for all tests of a module: each edits its own files."""
    with Daemon(
        tmp_path_factory.mktemp("configured_daemon"), ECHO, files={"models/first.yaml": "name: first\n"}
    ).serving(leaks=False) as daemon:
        yield daemon
