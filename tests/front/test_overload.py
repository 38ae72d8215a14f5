"""Too many connections, too much memory, too slow a body: refused with an error, while others are served."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import WAYS, front_conf
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Closed

ELSEWHERE = ("127.0.0.2", 0)
"""Another machine, from the daemon's view: only 127.0.0.1 counts as a reverse proxy."""


@contextlib.contextmanager
def from_elsewhere(daemon: Daemon) -> Iterator[socket.socket]:
    with socket.create_connection(daemon.address, PATIENCE, ELSEWHERE) as client:
        yield client


def health(client: socket.socket) -> bytes:
    with contextlib.suppress(OSError):
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        return client.recv(65536)
    return b""


@pytest.mark.parametrize("way", WAYS)
def test_a_client_with_too_many_connections_does_not_keep_others_out(
    make_daemon: DaemonFactory, upstream: Upstream, way: str
) -> None:
    daemon = make_daemon(front_conf(upstream, limits={"max_connections_per_client": 3}), flags=WAYS[way])
    with contextlib.ExitStack() as open_ones:
        served = [open_ones.enter_context(from_elsewhere(daemon)) for _ in range(3)]
        assert all(health(client).startswith(b"HTTP/1.1 200") for client in served)
        with from_elsewhere(daemon) as fourth:
            refused = health(fourth)
        assert refused == b"" or (refused.startswith(b"HTTP/1.1 503") and b'"overloaded"' in refused)
        assert all(daemon.get("/health").status == 200 for _ in range(5)), "clients at other addresses are served"
        served[0].close()
        eventually(lambda: _is_served(daemon), "the client may open a connection again")


def _is_served(daemon: Daemon) -> bool:
    with from_elsewhere(daemon) as client:
        return health(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("way", WAYS)
def test_at_the_connection_limit_idle_connections_are_closed(
    make_daemon: DaemonFactory, upstream: Upstream, way: str
) -> None:
    daemon = make_daemon(front_conf(upstream, limits={"max_connections": 4}), flags=WAYS[way])
    resting = daemon.wire()
    assert resting.request("GET", "/health").answer(method="GET").status == 200
    silent = [daemon.wire() for _ in range(3)]
    assert daemon.get("/health").status == 200, "the idle connection is closed to make room for a new one"
    resting.wait_closed()
    silent.append(daemon.wire())
    try:
        answer = daemon.wire().answer()
    except Closed:
        pass
    else:
        assert check_error(answer, 503, "overloaded")
        assert answer.header("retry-after") == "1"
    for wire in silent:
        wire.close()
    eventually(lambda: daemon.get("/health").status == 200, "a new connection is accepted again")


@pytest.mark.parametrize("way", WAYS)
def test_bodies_in_memory_are_bounded_in_total(make_daemon: DaemonFactory, upstream: Upstream, way: str) -> None:
    daemon = make_daemon(front_conf(upstream, limits={"max_body_mb": 1, "max_bodies_mb": 1}), flags=WAYS[way])
    size = 700_000
    held = daemon.wire()
    held.send(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {held.host}\r\nContent-Length: {size}\r\n\r\n".encode()
        + b" " * (size - 10)
    )

    def refused() -> bool:
        body = b'{"model":"m","messages":[]' + b" " * size + b"}"
        with daemon.wire() as wire:
            try:
                answer = wire.request("POST", "/v1/chat/completions", body=body).answer()
            except (Closed, OSError):
                return False
        return answer.status == 503 and answer.json()["error"]["code"] == "overloaded"

    eventually(refused, "a second large body is refused beside the first")
    small = upstream.play(plain(b"{}"))
    assert daemon.chat(small.model).status == 200, "a small body is accepted beside the large one"
    held.close()
    play = upstream.play(plain(b"{}"))
    body = f'{{"model":"{play.model}","messages":[]{" " * size}}}'.encode()
    eventually(
        lambda: daemon.post("/v1/chat/completions", body).status == 200, "a large body is accepted after the first"
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_drips_is_cut_off(make_daemon: DaemonFactory, upstream: Upstream, way: str) -> None:
    """Each byte arrives within `body_idle_seconds`, but the whole body would take days."""
    limits = {"body_idle_seconds": 1, "body_bytes_per_second": 1000}
    daemon = make_daemon(front_conf(upstream, limits=limits), flags=WAYS[way])
    wire = daemon.wire()
    wire.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: 1000000\r\n\r\n{{".encode())
    eventually(lambda: not wire.try_send(b" "), "the slow body is cut off")
    play = upstream.play(plain(b"{}"))
    assert daemon.chat(play.model).status == 200
