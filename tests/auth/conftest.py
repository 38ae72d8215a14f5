"""What tests of groups share: both ways of serving, and a Redis."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.front.house import WAYS
from tests.harness.daemon import held_port
from tests.harness.waiting import PATIENCE, eventually


@pytest.fixture(params=list(WAYS))
def flags(request: pytest.FixtureRequest) -> list[str]:
    return WAYS[request.param]


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """A Redis of its own, without a disk."""
    with held_port() as port:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            eventually(answers, "redis listens")
            yield port
        finally:
            server.terminate()
            server.wait(PATIENCE)
