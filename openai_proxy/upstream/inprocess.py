"""Answers that do not come straight off a socket: made here, or converted on their way.

All three are an `UpstreamResponse` (exchange.py), so the stations after them see no difference.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import DONE, error_event, event
from openai_proxy.errors import ProxyError, UpstreamInvalid
from openai_proxy.exchange import Body, Headers, UpstreamResponse

JSON_TYPE = (b"content-type", b"application/json")
SSE_HEADERS: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


async def rest_of(response: UpstreamResponse, limit: int) -> bytes:
    """Every chunk that is left, joined; UpstreamInvalid past `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while piece := await response.chunk():
        size += len(piece)
        if size > limit:
            response.close()
            raise UpstreamInvalid("The answer is too large.", code="upstream_too_large")
        parts.append(piece)
    return b"".join(parts)


class BytesResponse:
    """A whole body that is there already."""

    def __init__(self, body: bytes, *, status: int = 200, headers: Headers = (JSON_TYPE,)) -> None:
        self.status = status
        self.reason = _REASONS.get(status, "")
        self.headers: Headers = [*headers, (b"content-length", b"%d" % len(body))]
        self._body = body

    async def chunk(self) -> bytes:
        """The body once, then b""."""
        body, self._body = self._body, b""
        return body

    async def read(self, limit: int) -> bytes:
        """The body; UpstreamInvalid past `limit` bytes."""
        return await rest_of(self, limit)

    def close(self) -> None:
        """Forget the body."""
        self._body = b""


class StreamResponse:
    """A body made piece by piece by `pieces`; empty pieces are skipped.

    `on_close` is called once, when the answer is let go of: that is where a generator's source is told to stop.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        *,
        status: int = 200,
        headers: Headers = SSE_HEADERS,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.status = status
        self.reason = _REASONS.get(status, "")
        self.headers = headers
        self._pieces: AsyncIterator[bytes] | None = pieces
        self._on_close = on_close

    async def chunk(self) -> bytes:
        """The next piece, b"" after the last; whatever `pieces` raises comes through."""
        while self._pieces is not None:
            piece = await anext(self._pieces, None)
            if piece:
                return piece
            if piece is None:
                self._pieces = None
        return b""

    async def read(self, limit: int) -> bytes:
        """All pieces joined; UpstreamInvalid past `limit` bytes."""
        return await rest_of(self, limit)

    def close(self) -> None:
        """End the stream and tell its source, once."""
        self._pieces = None
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


class ChunksResponse:
    """Chat chunks made piece by piece, for who takes them as they are (`answers.HasChunks`) or as an event stream.

    One with `error` is the last. `on_close` is called once, when the answer is let go of.
    """

    status = 200
    reason = "OK"

    def __init__(self, pieces: AsyncIterator[list[Chunk]], *, on_close: Callable[[], None] | None = None) -> None:
        self.headers: Headers = SSE_HEADERS
        self._pieces: AsyncIterator[list[Chunk]] | None = pieces
        self._on_close = on_close
        self._failed = False
        self._done = False

    async def chunks(self) -> list[Chunk]:
        """See answers.HasChunks."""
        while self._pieces is not None:
            piece = await anext(self._pieces, None)
            if piece:
                self._failed = "error" in piece[-1]
                return piece
            if piece is None:
                self._pieces = None
        return []

    async def chunk(self) -> bytes:
        """See exchange.UpstreamResponse."""
        if chunks := await self.chunks():
            return b"".join([error_event(c["error"]) if "error" in c else event(c) for c in chunks])
        if self._failed or self._done:
            return b""
        self._done = True
        return DONE

    async def read(self, limit: int) -> bytes:
        """See exchange.UpstreamResponse."""
        return await rest_of(self, limit)

    def close(self) -> None:
        """See exchange.UpstreamResponse."""
        self._pieces = None
        self._done = True
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


class ConvertedResponse:
    """Another answer whose bytes go through `feed` as they come, and `end` after the last of them.

    Nothing is held back longer than `feed` itself holds it: what one piece of the source gives goes on at once.
    `feed` and `end` may raise a ProxyError; the source is closed with this answer in every case.
    """

    def __init__(
        self,
        source: UpstreamResponse,
        feed: Callable[[bytes], bytes],
        end: Callable[[], bytes],
        *,
        headers: Headers = SSE_HEADERS,
    ) -> None:
        self.status = source.status
        self.reason = source.reason
        self.headers = headers
        self._source = source
        self._feed = feed
        self._end = end
        self._ended = False

    async def chunk(self) -> bytes:
        """The next converted bytes; b"" after the end."""
        while not self._ended:
            data = await self._source.chunk()
            if data:
                converted = self._feed(data)
            else:
                self._ended = True
                converted = self._end()
            if converted:
                return converted
        return b""

    async def read(self, limit: int) -> bytes:
        """All converted bytes; UpstreamInvalid past `limit` of them."""
        return await rest_of(self, limit)

    def close(self) -> None:
        """Close the source."""
        self._ended = True
        self._source.close()


def json_response(payload: Any, *, status: int = 200, headers: Headers = ()) -> BytesResponse:
    """`payload` as a JSON answer."""
    return BytesResponse(orjson.dumps(payload), status=status, headers=[JSON_TYPE, *headers])


def error_response(error: ProxyError) -> BytesResponse:
    """An error of our own as the provider's answer, so that it is treated like any provider's.

    Whose it is says `x-proxy-error`, as with every error of ours.
    """
    told = {"x-proxy-error": error.code, **error.headers}
    fields = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in told.items()]
    return json_response(error.payload(), status=error.status, headers=fields)


async def collect(body: Body, limit: int) -> bytes:
    """A request body as one bytes object; UpstreamInvalid (code `request_too_large`, status 413) past `limit`."""
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    parts: list[bytes] = []
    size = 0
    async for piece in body:
        size += len(piece)
        if size > limit:
            raise UpstreamInvalid("The request is too large.", code="request_too_large", status=413)
        parts.append(piece)
    return b"".join(parts)
