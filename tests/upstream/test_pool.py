"""Kept connections: which are reused, for how long, and what happens if a new one cannot be made."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from openai_proxy.config.connection import TimeoutConfig
from openai_proxy.errors import UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from openai_proxy.upstream import pool as pool_module
from openai_proxy.upstream.connection import HttpConnection
from openai_proxy.upstream.origin import Origin
from openai_proxy.upstream.pool import IDLE_PLAIN, IDLE_TLS, MAX_IDLE, Pool
from openai_proxy.upstream.receive_buffer import SO_BUF_LOCK, UNREAD
from openai_proxy.upstream.response import HIGH_WATER, StreamedResponse
from openai_proxy.upstream.watch import Watch
from tests.harness.waiting import PATIENCE


class Transport(asyncio.Transport):
    """A transport that only records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "open"
        self.written = b""

    def is_closing(self) -> bool:
        return self.state != "open"

    def pause_reading(self) -> None:
        """Nothing is read anyway."""

    def resume_reading(self) -> None:
        """See pause_reading."""

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data


class Time:
    """The running loop with a clock set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


def make_pool(base: str = "http://127.0.0.1:9") -> tuple[Pool, Time]:
    time = Time()
    return Pool("main", Origin.parse(base), Watch(asyncio.get_running_loop()), time), time  # type: ignore[arg-type]


def idle(pool: Pool, time: Time, keep_alive: float | None = None) -> HttpConnection:
    """One more connection whose exchange has ended."""
    connection = HttpConnection(time, pool)  # type: ignore[arg-type]  # only the loop's time is used
    connection.connection_made(Transport())
    connection.keep_alive_for = keep_alive
    pool.give_back(connection)
    return connection


def state(connection: HttpConnection) -> str:
    assert isinstance(connection.transport, Transport)
    return connection.transport.state


# -- keeping ------------------------------------------------------------------------------------------------------


async def test_the_most_recently_used_is_used_next() -> None:
    pool, time = make_pool()
    first, second = idle(pool, time), idle(pool, time)
    assert [pool.take(), pool.take(), pool.take()] == [second, first, None]


@pytest.mark.parametrize(
    ("base", "keep_alive", "kept_for"),
    [
        ("http://127.0.0.1:9", None, IDLE_PLAIN),
        ("https://127.0.0.1:9", None, IDLE_TLS),
        ("http://127.0.0.1:9", 30.0, 29.0),
        ("https://127.0.0.1:9", 5.0, 4.0),
        ("http://127.0.0.1:9", 0.0, 0.0),
    ],
)
async def test_how_long_an_idle_connection_is_reused(base: str, keep_alive: float | None, kept_for: float) -> None:
    pool, time = make_pool(base)
    kept = idle(pool, time, keep_alive)
    if kept_for:
        time.now += kept_for - 0.01
        pool.sweep()
        assert pool.take() is kept
        pool.give_back(kept)
    time.now += kept_for
    assert pool.take() is None
    assert state(kept) == "aborted"


async def test_sweeping_closes_only_expired_connections() -> None:
    pool, time = make_pool()
    old = idle(pool, time)
    time.now += IDLE_PLAIN / 2
    young = idle(pool, time)
    time.now += IDLE_PLAIN / 2
    pool.sweep()
    assert (state(old), state(young)) == ("aborted", "open")
    assert pool.take() is young


async def test_a_connection_closed_while_idle_is_skipped() -> None:
    pool, time = make_pool()
    good, closing, lost = idle(pool, time), idle(pool, time), idle(pool, time)
    assert closing.transport is not None
    closing.transport.close()
    lost.connection_lost(None)
    assert pool.take() is good
    assert pool.take() is None


async def test_the_number_of_idle_connections_is_bounded() -> None:
    pool, time = make_pool()
    kept = [idle(pool, time) for _ in range(MAX_IDLE)]
    assert state(idle(pool, time)) == "closed"
    assert all(state(connection) == "open" for connection in kept)


async def test_a_retired_pool_lets_running_exchanges_finish() -> None:
    pool, time = make_pool()
    resting, running = idle(pool, time), idle(pool, time)
    assert pool.take() is running
    pool.retire()
    assert (state(resting), state(running)) == ("aborted", "open")
    pool.give_back(running)
    assert state(running) == "closed"
    assert pool.take() is None


# -- connecting -----------------------------------------------------------------------------------------------------


class Peer(asyncio.Protocol):
    """The server's side of a connection."""

    def __init__(self, answer: bytes | None, all_of_them: list["Peer"]) -> None:
        self._answer = answer
        self.transport: asyncio.Transport | None = None
        self.gone = asyncio.get_running_loop().create_future()
        all_of_them.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        if self._answer is None:
            self.transport.abort()
        else:
            self.transport.write(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(None)


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[tuple[str, list[Peer]]]:
    """A server on this machine: its address and connections. It answers every read; b"" is silence, None a reset."""
    peers: list[Peer] = []
    listener = await asyncio.get_running_loop().create_server(lambda: Peer(answer, peers), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", peers
    finally:
        listener.close()
        for peer in peers:
            if peer.transport is not None:
                peer.transport.abort()
                await peer.gone
        await listener.wait_closed()


def real_pool(base: str) -> Pool:
    loop = asyncio.get_running_loop()
    return Pool("main", Origin.parse(base), Watch(loop), loop)


async def exchange(connection: HttpConnection) -> bytes:
    response = StreamedResponse(asyncio.get_running_loop(), connection)
    connection.begin(response, "GET", TimeoutConfig())
    connection.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        await response.ready()
        return await response.read(100)


async def gone(connection: HttpConnection) -> None:
    """Wait until the loop has closed the dropped connection, one iteration later."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert connection.transport is None


async def test_a_connection_returns_to_the_pool_after_its_exchange() -> None:
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=60\r\n\r\nhi") as (address, came):
        pool = real_pool(f"http://{address}")
        connection = await pool.connect(5)
        assert pool.take() is None
        for _ in range(2):
            assert await exchange(connection) == b"hi"
            assert pool.take() is connection
        assert connection.keep_alive_for == 60
        assert len(came) == 1
        connection.abort()
        await gone(connection)


HEADS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Other: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
)


@pytest.mark.parametrize("after", HEADS)
@pytest.mark.parametrize("before", HEADS)
async def test_a_repeated_head_may_be_cut_anywhere(before: bytes, after: bytes) -> None:
    pool, time = make_pool()
    loop = asyncio.get_running_loop()
    body = b"x" * (20 if b": 20" in after else 2)
    for cut in range(len(after + body) + 1):
        connection = HttpConnection(time, pool)  # type: ignore[arg-type]
        connection.connection_made(Transport())
        first, second = StreamedResponse(loop, connection), StreamedResponse(loop, connection)
        connection.begin(first, "GET", TimeoutConfig())
        connection.data_received(before + b"y" * (20 if b": 20" in before else 2))
        connection.begin(second, "GET", TimeoutConfig())
        for piece in ((after + body)[:cut], (after + body)[cut:]):
            if piece:
                connection.data_received(piece)
        assert second.wire_head.fields == after.partition(b"\r\n")[2][:-2]
        assert await second.read(100) == body
        assert pool.take() is connection
    pool.watch.close()


async def test_closing_drops_running_exchanges() -> None:
    async with server(b"") as (address, _):
        pool = real_pool(f"http://{address}")
        connection = await pool.connect(5)
        connection.begin(StreamedResponse(asyncio.get_running_loop(), connection), "GET", TimeoutConfig())
        pool.close()
        assert connection.transport is None or connection.transport.is_closing()
        await gone(connection)


async def test_a_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UpstreamUnreachable, match="The connection 'main' cannot be reached") as refused:
        await real_pool(f"http://127.0.0.1:{port}").connect(5)
    assert str(port) not in refused.value.message


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "x" * 300])
async def test_an_unknown_host_name(host: str) -> None:
    with pytest.raises(UpstreamUnreachable) as refused:
        await real_pool(f"http://{host}").connect(5)
    assert host not in refused.value.message


async def test_a_server_that_does_not_speak_tls() -> None:
    async with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (address, _):
        with pytest.raises(UpstreamTLSError):
            await real_pool(f"https://{address}").connect(5)


async def test_a_server_that_resets_a_handshake() -> None:
    async with server(None) as (address, _):
        with pytest.raises(UpstreamTLSError):
            await real_pool(f"https://{address}").connect(5)


async def test_the_time_limit_covers_the_handshake() -> None:
    async with server(b"") as (address, _):
        with pytest.raises(UpstreamTimeout) as refused:
            await real_pool(f"https://{address}").connect(0.1)
        assert refused.value.code == "upstream_connect_timeout"


async def test_a_certificate_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> socket.socket:
        raise ssl.SSLCertVerificationError("self-signed certificate")

    monkeypatch.setattr(pool_module.aiohappyeyeballs, "start_connection", refuse)
    with pytest.raises(UpstreamTLSError, match="no valid TLS certificate"):
        await real_pool("https://127.0.0.1:1").connect(5)


class Real(Transport):
    """A transport that has a socket."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._sock if name == "socket" else default


async def test_the_kernel_buffers_little_of_a_stream() -> None:
    """Of a stream; for other answers on the same connection the kernel chooses the size again."""
    pool, time = make_pool()
    connection = HttpConnection(time, pool)  # type: ignore[arg-type]  # only the loop's time is used
    locked = []
    here, there = socket.socketpair()
    with here, there:
        connection.connection_made(Real(here))
        kinds = (b"application/json", b"text/event-stream", b"Application/X-NDJSON; charset=utf-8", b"application/json")
        for kind in kinds:
            connection.begin(StreamedResponse(asyncio.get_running_loop(), connection), "POST", TimeoutConfig())
            connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 3\r\n\r\na" % kind)
            connection.data_received(b"bc")
            locked.append(bool(here.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK)))
            if locked[-1]:
                assert here.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * UNREAD
    assert locked == [False, True, True, False]


async def test_a_new_connection_has_the_small_buffer_before_its_first_stream() -> None:
    """A fast provider would fill a larger one at once. After a whole answer the kernel chooses the size again."""
    pool, time = make_pool()
    sizes = []
    for kind in (b"text/event-stream", b"application/json", b"text/event-stream"):
        here, there = socket.socketpair()
        with here, there:
            connection = HttpConnection(time, pool)  # type: ignore[arg-type]  # only the loop's time is used
            connection.connection_made(Real(here))
            connection.begin(StreamedResponse(asyncio.get_running_loop(), connection), "POST", TimeoutConfig())
            sizes.append(here.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
            connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 3\r\n\r\na" % kind)
            connection.abort()
    assert sizes[0] == sizes[1] == 2 * UNREAD < sizes[2]


async def test_a_slow_reader_pauses_the_provider_until_it_comes_back() -> None:
    """The piece that the reader is still using counts, since the next one is held in addition to it."""
    pool, time = make_pool()
    connection = HttpConnection(time, pool)  # type: ignore[arg-type]  # only the loop's time is used
    connection.connection_made(Transport())
    response = StreamedResponse(asyncio.get_running_loop(), connection)
    connection.begin(response, "POST", TimeoutConfig())
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    connection.data_received(b"x" * (HIGH_WATER + 1))
    assert connection.held
    await response.chunk()
    assert connection.held
    waiting = asyncio.ensure_future(response.chunk())
    await asyncio.sleep(0)
    assert not connection.held
    connection.data_received(b"y")
    assert await waiting == b"y"
