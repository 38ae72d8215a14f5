"""Answers that do not come directly from a socket: created here, or converted on their way.

All of them are an `UpstreamResponse` (exchange.py), so later stages see no difference.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

import orjson

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import DONE, events
from openai_proxy.errors import ProxyError, UpstreamError, UpstreamInvalid, unknown_model
from openai_proxy.exchange import Body, Headers, UpstreamResponse
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.tasks import beside
from openai_proxy.upstream.wrapped import OwnResponse

Piece = TypeVar("Piece")

JSON_TYPE = (b"content-type", b"application/json")
SSE_HEADERS: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


class BytesResponse(OwnResponse):
    """A whole body that is already available."""

    def __init__(self, body: bytes, *, status: int = 200, headers: Headers = (JSON_TYPE,)) -> None:
        self.status = status
        self.reason = _REASONS.get(status, "")
        self.headers = [*headers, (b"content-length", b"%d" % len(body))]
        self._body = body

    async def chunk(self) -> bytes:
        """The body once, then b""."""
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """Forget the body."""
        self._body = b""


class _Generated(OwnResponse, Generic[Piece]):
    """An answer generated piece by piece by `pieces`; empty pieces are skipped, errors of `pieces` are passed on.

    `on_close` is called once, when the answer is released, to stop the generator's source.
    """

    def __init__(
        self,
        pieces: AsyncIterator[Piece],
        *,
        headers: Headers = SSE_HEADERS,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.headers = headers
        self._pieces: AsyncIterator[Piece] | None = pieces
        self._on_close = on_close

    async def _next(self) -> Piece | None:
        """The next piece, None after the last."""
        while self._pieces is not None:
            piece = await anext(self._pieces, None)
            if piece:
                return piece
            if piece is None:
                self._pieces = None
        return None

    def close(self) -> None:
        """End the stream and inform its source, once."""
        self._pieces = None
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


class StreamResponse(_Generated[bytes]):
    """A body in pieces."""

    async def chunk(self) -> bytes:
        return await self._next() or b""


class ChunksResponse(_Generated[list[Chunk]]):
    """Chat chunks, readable directly (`answers.HasChunks`) or as an event stream. One with `error` is the last."""

    _ended = False

    async def chunks(self) -> list[Chunk]:
        return await self._next() or []

    async def chunk(self) -> bytes:
        if chunks := await self.chunks():
            self._ended = "error" in chunks[-1]
            return events(chunks)
        ended, self._ended = self._ended, True
        return b"" if ended else DONE

    def close(self) -> None:
        self._ended = True
        super().close()


class ConvertedResponse(OwnResponse):
    """Another answer whose bytes pass through `feed` as they arrive, and `end` after the last of them.

    Only `feed` may hold bytes back: the result of each piece of the source is passed on at once. `feed` and `end` may
    raise a ProxyError; the source is always closed with this answer.
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
        self._waiting = 0  # bytes since something was converted

    async def chunk(self) -> bytes:
        """The next converted bytes; b"" after the end."""
        while not self._ended:
            data = await self._source.chunk()
            self._waiting += len(data)
            large = self._waiting >= LARGE
            if data:
                converted = await beside(large, self._feed, data)
            else:
                self._ended = True
                converted = await beside(large, self._end)
            if converted:
                self._waiting = 0
                return converted
        return b""

    def close(self) -> None:
        """Close the source."""
        self._ended = True
        self._source.close()


def json_response(payload: Any, *, status: int = 200, headers: Headers = ()) -> BytesResponse:
    """`payload` as a JSON answer."""
    return BytesResponse(orjson.dumps(payload), status=status, headers=[JSON_TYPE, *headers])


async def refusal_as_answer(asking: Awaitable[UpstreamResponse]) -> UpstreamResponse:
    """The answer; a request that we refuse to send (ProxyError) becomes one, too. Raises the UpstreamError family."""
    try:
        return await asking
    except UpstreamError:
        raise
    except ProxyError as error:
        return error_response(error)


def models_answer(path: str, model: dict[str, Any]) -> UpstreamResponse | None:
    """The answer of a provider with one `model` to a request for `/models` or below; None for other paths."""
    if path == "/models":
        return json_response({"object": "list", "data": [model]})
    if not path.startswith("/models/"):
        return None
    if (wanted := path.removeprefix("/models/")) != model["id"]:
        raise unknown_model(wanted)
    return json_response(model)


def error_response(error: ProxyError) -> BytesResponse:
    """An error of our own as the provider's answer, so that it is treated like any provider's.

    `x-proxy-error` marks it as ours, as with every error of ours.
    """
    fields_of_error = {"x-proxy-error": error.code, **error.headers}
    fields = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in fields_of_error.items()]
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
