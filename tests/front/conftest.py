"""The daemons of the front door's tests: one a module and way, both ways of serving held to the same tests."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.daemon import CANARY, Daemon
from tests.harness.upstream import Upstream

WAYS = {"spliced": [], "plain": ["--no-splice"]}


@pytest.fixture(scope="module", params=list(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """The default way of serving, and the one by aiohttp alone: whatever holds for one must hold for the other."""
    return str(request.param)


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A port that refuses connections for as long as the tests run: bound, never listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="session")
def black_hole() -> Iterator[int]:
    """A port whose backlog is full, so that a connection is neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):  # the queue takes one or two; the last one hangs, which is the proof
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def connection(url: str, **more: Any) -> dict[str, Any]:
    """One connection that holds the canary key. Not retried and patient, unless told otherwise."""
    timeout = {"connect": 2, "first_byte": 60, "idle": 60}
    return {"api_type": "openai", "api_base": url, "api_key": CANARY, "max_retries": 0, "timeout": timeout, **more}


def front_conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """A house with a `main` connection, and a `brisk` one that loses patience after 0.4 s."""
    brisk = {"connect": 0.4, "first_byte": 0.4, "idle": 0.4}
    connections = {"main": connection(upstream.url), "brisk": connection(upstream.url, timeout=brisk)}
    return {"connections": connections | more.pop("connections", {}), "default_connection": "main", **more}


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The house of `front_conf`. Afterwards nothing may be left: no client, no busy request upstream, no child."""
    running = Daemon(tmp_path_factory.mktemp(way), front_conf(upstream), flags=WAYS[way]).start()
    try:
        yield running
        running.assert_nothing_leaked()
        running.stop()
    finally:
        running.kill()
