"""What reaches the client of an answer whose head is held for the first bytes of its body."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp.web_request import BaseRequest

from openai_proxy.server.connection import ConnectionServer
from openai_proxy.server.reply import Reply, SentResponse
from tests.harness.waiting import PATIENCE

HEAD = b"X-Held: yes\r\n"


async def answered(line: bytes, answer: Callable[[Reply], Awaitable[None]]) -> bytes:
    """All that a client receives for the request `line` until its connection is closed."""

    async def handler(request: BaseRequest) -> SentResponse:
        reply = Reply(request, None)
        await answer(reply)
        return SentResponse(reply)

    server = ConnectionServer(handler, header_seconds=lambda: PATIENCE)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            writer.write(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = await reader.read()
            writer.close()
            await writer.wait_closed()
            return received
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("line", "status", "length", "framing", "rest"),
    [
        (b"GET / HTTP/1.1", 200, None, b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"GET / HTTP/1.1", 200, 0, b"Content-Length: 0\r\n", b""),
        (b"GET / HTTP/1.1", 204, None, b"", b""),
        (b"HEAD / HTTP/1.1", 200, None, b"", b""),
        (b"GET / HTTP/1.0", 200, None, b"", b""),
    ],
)
async def test_the_held_head_of_an_empty_answer_is_sent_at_its_end(
    line: bytes, status: int, length: int | None, framing: bytes, rest: bytes
) -> None:
    async def empty(reply: Reply) -> None:
        reply.begin(status, b"Fine", HEAD, length, hold=True)
        await reply.write(b"")
        await reply.end()

    head = b"HTTP/1.1 %d Fine\r\n%b%bConnection: close\r\n\r\n" % (status, HEAD, framing)
    assert await answered(line, empty) == head + rest


async def test_the_held_head_of_a_broken_answer_is_sent() -> None:
    async def broken(reply: Reply) -> None:
        reply.begin(200, b"OK", HEAD, None, hold=True)
        reply.abort()

    received = await answered(b"GET / HTTP/1.1", broken)
    assert received.startswith(b"HTTP/1.1 200 OK\r\nX-Held: yes\r\n")
    assert received.endswith(b"\r\n\r\n")
