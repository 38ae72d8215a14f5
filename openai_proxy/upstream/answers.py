"""A provider's answer as chat chunks or as one completion, whatever it came in: the I/O around a dialect's reader."""

import asyncio
from typing import Any, Final, Protocol, runtime_checkable

import orjson

from openai_proxy.dialects.base import AnswerReader, Chunk
from openai_proxy.dialects.reading import MAX_ANSWER
from openai_proxy.errors import ProxyError, UpstreamError, UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamResponse, header
from openai_proxy.protocols.inflate import CODINGS, DamagedError, Inflater, TooLongError
from openai_proxy.upstream.answer_bounds import MAX_NESTING, AnswerBounds, check_nesting

MAX_ERROR: Final = 1 << 20
"""Bytes of an error answer that are read; a longer one is not an error message."""


_DRAIN: Final = 0.5  # seconds


@runtime_checkable
class HasChunks(Protocol):
    """An answer that was translated to chunks here: who wants chunks need not read its bytes."""

    async def chunks(self) -> list[Chunk]:
        """The next chunks, at least one; none at a clean end. What `chunk` would give as bytes; use one or the other.

        Raises the UpstreamError family.
        """
        ...


@runtime_checkable
class EndsInWords(Protocol):
    """A stream that was translated here, and knows how it ends in its API where something breaks it."""

    def broken(self, error: ProxyError) -> bytes:
        """The end that says so; only between two pieces."""
        ...


class StreamReader(Protocol):
    """The part of a dialect's reader that a stream needs."""

    ended: bool

    def feed(self, data: bytes) -> list[Chunk]:
        """See dialects.base.AnswerReader."""
        ...

    def end(self) -> list[Chunk]:
        """See dialects.base.AnswerReader."""
        ...


class ChunkSource:
    """The chunks of one answer."""

    def __init__(self, response: UpstreamResponse, reader: StreamReader) -> None:
        self._response = response
        self._reader = reader
        self._direct = response if isinstance(response, HasChunks) else None
        self._inflate = None if self._direct is not None else inflater(response.headers)
        self._bounds = AnswerBounds()
        self.ended = False  # the end of the message or of the body has come

    async def read(self) -> list[Chunk]:
        """The next chunks, perhaps none. Raises UpstreamTruncated, UpstreamTimeout and UpstreamInvalid."""
        if self._direct is not None:
            chunks = await self._direct.chunks()
            self._bounds.read(chunks)
            self.ended = not chunks
            return chunks
        data = await self._response.chunk()
        if data and self._inflate is not None:
            data = self._inflate.feed(data)
            if not data:
                return []
        self._bounds.came(data)
        chunks = self._reader.feed(data) if data else self._reader.end()
        self._bounds.read(chunks)
        self.ended = not data or self._reader.ended
        return chunks

    async def drain(self) -> None:
        """Read what follows the end of the message, so that the connection can be used again; not for long."""
        try:
            async with asyncio.timeout(_DRAIN):
                while await self._response.chunk():
                    continue
        except (TimeoutError, UpstreamError):
            return


async def whole(response: UpstreamResponse, reader: AnswerReader) -> dict[str, Any]:
    """The whole answer as a `chat.completion`, or `{"error": …}`. Raises the UpstreamError family."""
    inflate = inflater(response.headers)
    data = await response.read(MAX_ANSWER)
    data = inflate.feed(data) if inflate is not None else data
    if data.count(b"{") + data.count(b"[") > MAX_NESTING:
        check_nesting(_parsed(data))
    return reader.whole(data)


def _parsed(data: bytes) -> Any:
    """`data` as JSON, None where it is none: the reader says so better."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


async def error_text(response: UpstreamResponse) -> bytes:
    """The body of an error answer, which is closed. Empty where it cannot be read."""
    try:
        data = await response.read(MAX_ERROR)
        inflate = inflater(response.headers)
        return inflate.feed(data) if inflate is not None else data
    except UpstreamInvalid:
        return b""
    finally:
        response.close()


class AnswerInflater:
    """Takes gzip or deflate off, of at most MAX_ANSWER bytes."""

    def __init__(self) -> None:
        self._inflater = Inflater(MAX_ANSWER)

    def feed(self, data: bytes) -> bytes:
        """What `data` inflates to. Raises UpstreamInvalid."""
        try:
            return self._inflater.feed(data)
        except DamagedError:
            raise UpstreamInvalid("The provider's compressed answer is damaged.") from None
        except TooLongError:
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large") from None


def inflater(headers: Headers) -> AnswerInflater | None:
    """What takes the content coding off; None where there is none. Raises UpstreamInvalid for one nobody asked for."""
    coding = (header(headers, b"content-encoding") or b"").strip().lower()
    if coding in (b"", b"identity"):
        return None
    if coding.decode("latin-1") in CODINGS:
        return AnswerInflater()
    raise UpstreamInvalid("The provider answered in a compression that was not asked for.")
