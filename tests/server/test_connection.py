"""What server/connection.py uses of aiohttp beyond its documented interface is there, in that shape."""

import asyncio
from collections import deque
from typing import Any

import aiohttp
import aiohttp.http_parser
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server


async def test_the_insides_of_the_request_handler_are_where_we_expect_them() -> None:
    async def handler(request: Any) -> Any:
        raise AssertionError("not called")

    protocol = RequestHandler(Server(handler), loop=asyncio.get_running_loop())
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


async def test_a_payload_keeps_its_pieces_in_a_buffer() -> None:
    async def handler(request: Any) -> Any:
        raise AssertionError("not called")

    loop = asyncio.get_running_loop()
    stream = StreamReader(RequestHandler(Server(handler), loop=loop), 2**16, loop=loop)
    stream.feed_data(b"one")
    stream.feed_data(b"two")
    assert list(stream._buffer) == [b"one", b"two"]


def test_the_version_is_one_this_was_read_against_and_the_parser_is_the_c_one() -> None:
    assert tuple(map(int, aiohttp.__version__.split(".")[:2])) == (3, 14)
    # Most smuggling CVEs were in the Python parser.
    assert aiohttp.http_parser.HttpRequestParser is not aiohttp.http_parser.HttpRequestParserPy
