"""The body of a provider's answer, decompressed."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import MAX_ANSWER
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamResponse, header
from openai_proxy.protocols.inflate import CODINGS, DamagedError, Inflater, TooLongError
from openai_proxy.tasks import beside
from openai_proxy.upstream.wrapped import OwnResponse

MAX_ERROR: Final = 1 << 20
"""Bytes read of an error answer; an error message is not longer."""

_PACKED: Final = 1 << 12  # compressed bytes that may become megabytes

_PIECE: Final = 1 << 16
"""Bytes of a compressed stream that are decompressed at a time; other tasks run in between."""


async def body_of(response: UpstreamResponse, limit: int = MAX_ANSWER) -> bytes:
    """The body, of at most `limit` bytes as it is sent. Raises the UpstreamError family."""
    inflate = inflater(response.headers)
    data = await response.read(limit)
    return data if inflate is None else await beside(len(data) >= _PACKED, inflate.feed, data)


async def answer_json(response: UpstreamResponse) -> Any:
    """A JSON value from a provider, None for anything else. Raises the UpstreamError family."""
    try:
        return json_text.loads(await body_of(response))
    except ValueError:
        return None


async def answer_object(response: UpstreamResponse) -> dict[str, Any]:
    """A JSON object from a provider. Raises UpstreamInvalid."""
    document = await answer_json(response)
    if not isinstance(document, dict):
        raise UpstreamInvalid("The provider sent an answer that is not understood.")
    return document


async def error_text(response: UpstreamResponse) -> bytes:
    """The body of an error answer, which is closed. Empty if it cannot be read."""
    try:
        return await body_of(response, MAX_ERROR)
    except UpstreamInvalid:
        return b""
    finally:
        response.close()


class AnswerInflater:
    """Decompresses gzip or deflate, up to MAX_ANSWER bytes."""

    def __init__(self) -> None:
        self._inflater = Inflater(MAX_ANSWER)

    def feed(self, data: bytes) -> bytes:
        """What `data` inflates to. Raises UpstreamInvalid."""
        return b"".join(self.pieces(data, MAX_ANSWER))

    def pieces(self, data: bytes, size: int = _PIECE) -> Iterator[bytes]:
        """The same in pieces of at most `size` bytes, each inflated when it is asked for."""
        try:
            yield from self._inflater.pieces(data, size)
        except DamagedError:
            raise UpstreamInvalid("The provider's compressed answer is damaged.") from None
        except TooLongError:
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large") from None


class InflatedResponse(OwnResponse):
    """Another answer, decompressed."""

    def __init__(self, source: UpstreamResponse, inflate: AnswerInflater) -> None:
        self.status = source.status
        self.reason = source.reason
        self.headers = [(n, v) for n, v in source.headers if n.lower() not in (b"content-encoding", b"content-length")]
        self._source = source
        self._inflate = inflate
        self._pieces: Iterator[bytes] = iter(())  # of the last bytes received

    async def chunk(self) -> bytes:
        """The next decompressed bytes; b"" after the end. Raises the UpstreamError family."""
        while True:
            if piece := next(self._pieces, b""):
                await asyncio.sleep(0)
                return piece
            data = await self._source.chunk()
            if not data:
                return b""
            self._pieces = self._inflate.pieces(data)

    def close(self) -> None:
        """Close the source."""
        self._pieces = iter(())
        self._source.close()


def inflated(response: UpstreamResponse) -> UpstreamResponse:
    """`response`, decompressed as it arrives. Raises UpstreamInvalid for a coding that was not requested."""
    inflate = inflater(response.headers)
    return response if inflate is None else InflatedResponse(response, inflate)


def inflater(headers: Headers) -> AnswerInflater | None:
    """The decompressor for the content coding; None without one. Raises UpstreamInvalid for one not requested."""
    coding = (header(headers, b"content-encoding") or b"").strip().lower()
    if coding in (b"", b"identity"):
        return None
    if coding.decode("latin-1") in CODINGS:
        return AnswerInflater()
    raise UpstreamInvalid("The provider answered in a compression that was not asked for.")
