"""The daemons of the front door's tests: one a way of serving, both ways held to the same tests."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.front.house import WAYS, check_nothing_left, front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream


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


@pytest.fixture(autouse=True)
def no_client_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Connections a test left open are closed after it, so that the next one may count the daemon's."""
    yield
    for name in ("daemon", "locked"):
        if isinstance(running := request.node.funcargs.get(name), Daemon):
            running.close_wires()


@pytest.fixture(scope="session")
def houses(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Daemon]]:
    """The house of `front_conf`, one for each way of serving, begun when it is first asked for."""
    with contextlib.ExitStack() as stack:
        begun: dict[str, Daemon] = {}

        def of(way: str) -> Daemon:
            if way not in begun:
                begun[way] = stack.enter_context(serving(tmp_path_factory.mktemp(way), front_conf(upstream), way))
            return begun[way]

        yield of


@pytest.fixture(scope="module")
def daemon(way: str, houses: Callable[[str], Daemon]) -> Iterator[Daemon]:
    """The house of `front_conf`. After each module nothing may be left: no client, no busy request, no child."""
    house = houses(way)
    yield house
    check_nothing_left(house)
