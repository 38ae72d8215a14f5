"""Sends one HTTP request over a pool and returns a streamed answer."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

from openai_proxy.config.connection import TimeoutConfig
from openai_proxy.errors import UpstreamDisconnected, UpstreamError
from openai_proxy.exchange import Body
from openai_proxy.tasks import spawn
from openai_proxy.upstream.connection import HttpConnection
from openai_proxy.upstream.pool import Pool
from openai_proxy.upstream.response import StreamedResponse

_REPLAYABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 §9.2.2

_AT_ONCE = 1 << 20
"""Bytes of a body that are passed to the socket at once."""


async def send(
    pool: Pool, method: str, head: bytes, body: Body, limits: TimeoutConfig, *, chunked: bool, replay: bool = False
) -> StreamedResponse:
    """Send `head` and `body`; returns when the response head has arrived.

    `head` is complete, including the empty line; a streamed body is framed as chunks if `chunked`. A kept connection
    that turns out to have been closed by the server before the first byte of an answer is replaced by a new one, once,
    if the method is idempotent or `replay` says that a second delivery does no harm. Raises the UpstreamError
    family.
    """
    loop = asyncio.get_running_loop()
    whole = body is None or isinstance(body, bytes)
    replay = whole and (replay or method in _REPLAYABLE)
    while True:
        connection = pool.take()
        reused = connection is not None
        if connection is None:
            connection = await pool.connect(limits.connect)
        response = StreamedResponse(loop, connection)
        upload: asyncio.Task[None] | None = None
        try:
            connection.begin(response, method, limits)
            connection.upgrading = b"\r\nUpgrade: " in head
            if body is None or (isinstance(body, bytes) and len(body) <= _AT_ONCE):
                connection.write(head + body if body else head)
            else:
                connection.write(head)
                connection.uploading = True
                source = _slices(body) if isinstance(body, bytes) else body
                upload = spawn(_upload(connection, response, source, chunked), name=f"upload to {pool.name}")
                response.on_close = upload.cancel
            await response.ready()
        except UpstreamDisconnected:
            if reused and replay:
                continue
            raise
        except BaseException:
            response.close()
            raise
        return response


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    """`body` in parts that the socket accepts one by one, so that it is never copied as a whole."""
    for start in range(0, len(body), _AT_ONCE):
        yield body[start : start + _AT_ONCE]


async def _upload(
    connection: HttpConnection, response: StreamedResponse, body: AsyncIterable[bytes], chunked: bool
) -> None:
    """Send a streamed body; the provider may answer before its end (then the rest is not sent)."""
    try:
        async for piece in body:
            if response.answered or connection.transport is None:
                return
            if piece:
                connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                connection.touch()
                await connection.drain()
        if chunked:
            connection.write(b"0\r\n\r\n")
        connection.touch()
        connection.uploading = False
    except UpstreamError:
        raise
    except Exception as error:
        # The body's source failed (the client left, or its body is too large): the provider must not mistake what it
        # has for the whole, and the code that waits for the answer gets the reason.
        response.abandon(error)
