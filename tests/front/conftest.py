"""The daemons of these tests: one with and one without the fast path, both held to the same tests."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.front.configurations import WAYS, check_nothing_left, front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module", params=list(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """With and without the fast path: both must behave alike."""
    return str(request.param)


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A port that refuses connections for as long as the tests run: bound, never listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(autouse=True)
def no_client_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Connections a test left open are closed after it, so that the next test may count the daemon's connections."""
    yield
    for name in ("daemon", "locked"):
        if isinstance(running := request.node.funcargs.get(name), Daemon):
            running.close_wires()


@pytest.fixture(scope="session")
def daemons(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Daemon]]:
    """The daemons with `front_conf`, one with and one without the fast path, each started when first needed."""
    with contextlib.ExitStack() as stack:
        begun: dict[str, Daemon] = {}

        def of(way: str) -> Daemon:
            if way not in begun:
                begun[way] = stack.enter_context(serving(tmp_path_factory.mktemp(way), front_conf(upstream), way))
            return begun[way]

        yield of


@pytest.fixture(scope="module")
def daemon(way: str, daemons: Callable[[str], Daemon]) -> Iterator[Daemon]:
    """The daemon with `front_conf`. After each module, no client, no busy request and no child may be left."""
    daemon_of_way = daemons(way)
    yield daemon_of_way
    check_nothing_left(daemon_of_way)
