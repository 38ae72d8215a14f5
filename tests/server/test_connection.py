"""The internals of aiohttp that server/connection.py uses exist and have the expected shape."""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import aiohttp.http_parser
import uvloop
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from openai_proxy.server.connection import UNSENT, ConnectionServer
from tests.harness.waiting import PATIENCE


@asynccontextmanager
async def handled_request() -> AsyncIterator[Any]:
    """The server's side of a connection whose request is being handled."""
    arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: Any) -> Any:
        arrived.set_result(request.protocol)
        await asyncio.Event().wait()

    server = ConnectionServer(handler, header_seconds=lambda: PATIENCE)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    with socket.create_connection(listener.sockets[0].getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            connection = await arrived
        yield connection
        connection.transport.abort()
    listener.close()


async def test_the_internals_of_the_request_handler_are_as_expected() -> None:
    async def handler(request: Any) -> Any:
        raise AssertionError("not called")

    server = Server(handler, keepalive_timeout=7.0)
    assert server._kwargs["keepalive_timeout"] == 7.0
    protocol = RequestHandler(server, loop=asyncio.get_running_loop(), **server._kwargs)
    assert protocol._keepalive_timeout == 7.0
    assert isinstance(protocol._messages, deque)
    assert protocol._waiter is None
    assert protocol._request_count == 0
    assert protocol._close is False
    assert protocol._reading_paused is False
    assert protocol._keepalive_handle is None
    assert isinstance(protocol._next_keepalive_close_time, float)
    for method in ("_process_keepalive", "_drain_helper", "resume_reading", "set_parser", "handle_error"):
        assert callable(getattr(protocol, method)), method
    assert callable(protocol._parser.message_consumed)
    assert protocol.writing_paused is False
    assert protocol._request_in_progress is False
    assert protocol._upgraded is False


async def test_the_payload_of_a_request_is_where_we_expect_it() -> None:
    stream = object()
    request = make_mocked_request("POST", "/", payload=stream)  # type: ignore[arg-type]  # only handed on
    assert request._payload is stream


async def test_a_payload_keeps_its_pieces_in_a_buffer() -> None:
    async def handler(request: Any) -> Any:
        raise AssertionError("not called")

    loop = asyncio.get_running_loop()
    stream = StreamReader(RequestHandler(Server(handler), loop=loop), 2**16, loop=loop)
    stream.feed_data(b"one")
    stream.feed_data(b"two")
    assert list(stream._buffer) == [b"one", b"two"]


def test_connections_send_without_delay() -> None:
    """aiohttp would set this option; we rely on the event loop."""

    async def option() -> int:
        async with handled_request() as connection:
            accepted = connection.transport.get_extra_info("socket")
            return int(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    assert asyncio.run(option()) != 0
    assert uvloop.run(option()) != 0


def test_the_version_is_a_checked_one_and_has_the_c_parser() -> None:
    assert tuple(map(int, aiohttp.__version__.split(".")[:2])) == (3, 14)
    # Most smuggling CVEs were in the Python parser.
    assert aiohttp.http_parser.HttpRequestParser is not aiohttp.http_parser.HttpRequestParserPy


def test_little_waits_for_a_client_that_does_not_read() -> None:
    """On the event loop of the daemon, whose transports are not asyncio's."""
    piece = b"x" * 1000

    async def waiting() -> int:
        async with handled_request() as connection:
            while not connection.writing_paused:
                connection.transport.write(piece)
            return int(connection.transport.get_write_buffer_size())

    assert uvloop.run(waiting()) <= UNSENT + len(piece)
