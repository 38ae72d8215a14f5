"""Writes an answer to the client: heads byte for byte, bodies with backpressure and a timeout.

aiohttp's own response classes add Server, Date and Content-Type; a pass-through answer has only the upstream's headers.
So replies write to the connection themselves and give aiohttp's server a finished one.
"""

import asyncio
import socket
import struct
from http import HTTPStatus

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from openai_proxy.dialects import client_dialect
from openai_proxy.errors import ProxyError
from openai_proxy.secrets import vault
from openai_proxy.server.connection import drained
from openai_proxy.server.headers import lines

_LENGTH_LESS = frozenset({204, 304})
JSON = "application/json"
_NO_STORE = ("Cache-Control", "no-store")


def reset(transport: asyncio.Transport) -> None:
    """Drop a connection so that its peer sees a reset (RST): an orderly close would end an HTTP/1.0 body cleanly."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class ClientGone(ConnectionError):
    """The client disconnected, or did not accept its bytes within `write_seconds`."""


class Reply:
    """The one answer to one request."""

    __slots__ = (
        "_chunked", "_head_only", "_left", "_protocol", "_together", "_transport",
        "_unsent", "_write_seconds", "body_bytes", "ended", "extra",
        "http10", "keep_alive", "language", "recorded", "started", "status",
    )  # fmt: skip

    def __init__(self, request: BaseRequest, write_seconds: float | None) -> None:
        protocol: RequestHandler = request.protocol
        self._protocol = protocol
        self._transport = request.transport
        self._write_seconds = write_seconds
        self._chunked = False
        self._left: int | None = None
        self._head_only = request.method == "HEAD"
        self.http10 = request.version < (1, 1)
        self.keep_alive = request.keep_alive
        self.extra: list[tuple[str, str]] = []  # our own fields of every answer: x-request-id, CORS, session
        self.language = ""  # the dialect in which errors are written; "" for that of the chat API
        self.recorded = False  # True: the request has a record, whose log line shows the outcome
        self.started = False
        self.ended = False
        self.status = 0
        self._together = False
        self._unsent = b""
        self.body_bytes = 0

    @property
    def announced_length(self) -> bool:
        """True if the body has a Content-Length, so that nothing can be added to it."""
        return self.started and not self._chunked

    # -- whole answers ----------------------------------------------------------------------------------------------

    async def send(self, status: int, body: bytes, content_type: str = JSON, *fields: tuple[str, str]) -> None:
        """Answer with a text of our own, after removing any secrets from it."""
        await self.send_as_is(status, vault.scrub_body(body), content_type, *fields)

    async def send_as_is(self, status: int, body: bytes, content_type: str = JSON, *fields: tuple[str, str]) -> None:
        """Answer with a model's text or a file, whole; caching is forbidden unless `fields` say otherwise."""
        cached = any(name == "Cache-Control" for name, _ in fields)
        head = lines([("Content-Type", content_type), *(() if cached else (_NO_STORE,)), *fields])
        self._together = True
        self.begin(status, HTTPStatus(status).phrase.encode(), head, len(body))
        await self.write(body)
        await self.end()

    async def send_error(self, error: ProxyError) -> None:
        """Answer with an error of our own, in the client's API's format."""
        fields = [*error.headers.items(), ("x-proxy-error", error.code)]
        present = {name.lower() for name, _ in (*fields, *self.extra)}
        if error.final and "x-should-retry" not in present:
            fields.append(("x-should-retry", "false"))
        body = error.body()
        if self.language:
            body = client_dialect(self.language).error_body(error.status, error.payload()["error"])
        await self.send(error.status, body, JSON, *fields)

    # -- streamed answers -------------------------------------------------------------------------------------------

    def begin(self, status: int, reason: bytes, head: bytes, length: int | None, *, hold: bool = False) -> None:
        """Send the head: `head` are finished header lines; framing and connection fields are added here.

        `length` None means a body of unknown size: chunked, or until the connection closes for HTTP/1.0. With `hold`
        the head is sent with the first bytes of the body, which are about to arrive: one system call less. If none
        arrive, it is sent at the end.
        """
        self.started = True
        self.status = status
        self._left = length
        bodiless = self._head_only or status in _LENGTH_LESS or status < 200
        if length is not None:
            framing = b"" if status in _LENGTH_LESS or status < 200 else b"Content-Length: %d\r\n" % length
        elif bodiless:
            framing = b""
        elif self.http10:
            self.keep_alive = False
            framing = b""
        else:
            self._chunked = True
            framing = b"Transfer-Encoding: chunked\r\n"
        if bodiless:
            self._left = 0
        if not self.keep_alive:
            framing += b"Connection: close\r\n"
        elif self.http10:
            framing += b"Connection: keep-alive\r\n"
        text = b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (status, reason, head, lines(self.extra), framing)
        if hold:
            self._unsent = text
        else:
            self._put(text)

    async def write(self, data: bytes) -> None:
        """Send body bytes; waits while the client does not keep up. Raises ClientGone."""
        if not data or self._head_only:
            return
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
            if not data:
                return
        self.body_bytes += len(data)
        self._put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if self._protocol.writing_paused:
            await self._drain()

    async def end(self) -> None:
        """The body is complete."""
        if self._left:  # fewer bytes than promised: it must not look complete
            self.abort()
            return
        self.ended = True
        if self._chunked:
            self._put(b"0\r\n\r\n")
        self._together = False
        if self._unsent:  # a whole answer, or the head of an empty one
            self._put(b"")

    def abort(self) -> None:
        """Cut the connection, so that the client sees a broken answer: a reset for HTTP/1.0, whose end is silent."""
        self.keep_alive = False
        self.ended = True
        if self._transport is not None and not self._transport.is_closing():
            if self.http10:
                reset(self._transport)
            else:
                if self._unsent:  # clients may repeat a request that was not answered at all
                    self._transport.write(self._unsent)
                self._transport.close()

    def begin_upgrade(self, head: bytes) -> None:
        """Answer 101: what follows is another protocol, written by `write_raw`."""
        self.started = self.http10 = True
        self.keep_alive = False
        self.status = 101
        self._put(b"HTTP/1.1 101 Switching Protocols\r\n%b%b\r\n" % (head, lines(self.extra)))

    async def write_raw(self, data: bytes) -> None:
        """Bytes of the other protocol."""
        self._put(data)
        if self._protocol.writing_paused:
            await self._drain()

    def half_close(self) -> None:
        """The other protocol is over on this side; the client may still send something, and close."""
        if self._transport is not None and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    @property
    def gone(self) -> bool:
        """True if the client's connection is closed."""
        return self._transport is None or self._transport.is_closing()

    def interim(self, line: bytes) -> None:
        """Send a 1xx response."""
        self._put(line + b"\r\n\r\n")

    def _put(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ClientGone
        if self._together:  # a whole answer is sent in one write, which is one system call
            self._unsent += data
            return
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        self._transport.write(data)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._write_seconds):
                await drained(self._protocol)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
            raise ClientGone from None
        except ConnectionError:
            raise ClientGone from None


class SentResponse:
    """What a handler returns to aiohttp's server: an answer that was already sent."""

    __slots__ = ("body_length", "headers", "keep_alive", "status")

    def __init__(self, reply: Reply) -> None:
        self.keep_alive = reply.keep_alive and reply.ended
        self.status, self.body_length = reply.status, reply.body_bytes  # for the access log of an embedding program
        self.headers: dict[str, str] = {}

    async def prepare(self, request: BaseRequest) -> None:
        """aiohttp asks for the head, which was sent."""

    async def write_eof(self) -> None:
        """aiohttp asks for the end, which was written."""
