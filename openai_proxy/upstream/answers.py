"""A provider's answer as chat chunks or one completion, whatever its format: the I/O around a dialect's reader."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Protocol, cast

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import AnswerReader, Chunk
from openai_proxy.dialects.chat.chunks import in_parts, size_of
from openai_proxy.errors import UpstreamError
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.steps import pieces
from openai_proxy.tasks import beside
from openai_proxy.upstream.answer_body import body_of, inflated
from openai_proxy.upstream.answer_bounds import MAX_NESTING, AnswerBounds, check_nesting

_DRAIN: Final = 0.5  # seconds
_AT_ONCE: Final = 8 * 1024
"""Bytes of a stream that are parsed together. As objects they take ten times the memory until the client reads them."""


class HasChunks(Protocol):
    """An answer that was translated to chunks here: readers of chunks need not parse its bytes."""

    async def chunks(self) -> list[Chunk]:
        """The next chunks, at least one; none at a clean end. The alternative to the bytes of `chunk`; use only one.

        Raises the UpstreamError family.
        """
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
        # By its name: `isinstance` with a protocol checks all its members each time, in 20 µs.
        self._direct = cast("HasChunks", response) if hasattr(response, "chunks") else None
        self._response = response if self._direct is not None else inflated(response)
        self._reader = reader
        self._bounds = AnswerBounds()
        self._unread: Iterator[bytes] = iter(())  # of the last bytes received
        self._parts: deque[Chunk] = deque()  # of large chunks already read
        self._large = False  # whether the last read had one
        self._then = (False, False)  # `ended` and `over` after the last of those parts
        self.ended = False  # the message or the body has ended
        self.over = False  # the end of the body

    async def read(self) -> list[Chunk]:
        """The next chunks, possibly none. Raises UpstreamTruncated, UpstreamTimeout and UpstreamInvalid.

        A large chunk is returned in parts, between which other tasks run.
        """
        if not self._parts:
            chunks = await self._read()
            if not self._large:
                return chunks
            self._parts.extend(part for chunk in chunks for part in in_parts(chunk))
            self._then = self.ended, self.over
        await asyncio.sleep(0)
        part = self._parts.popleft()
        self.ended, self.over = (False, False) if self._parts else self._then
        return [part]

    async def _read(self) -> list[Chunk]:
        if self._direct is not None:
            chunks = await self._direct.chunks()
            self._large = any(size_of(chunk) >= LARGE for chunk in chunks)
            self._bounds.read(chunks)
            self.ended = self.over = not chunks
            return chunks
        data = next(self._unread, b"")
        if not data:
            data = await self._response.chunk()
            if len(data) > _AT_ONCE and self._bounds.waiting < LARGE:
                self._unread = pieces(data, step=_AT_ONCE)
                data = next(self._unread)
        self._bounds.received(data)
        large = self._bounds.waiting >= LARGE
        chunks = await (beside(large, self._reader.feed, data) if data else beside(large, self._reader.end))
        self._bounds.read(chunks)
        self._large = large and bool(chunks)
        self.over = not data
        self.ended = self.over or self._reader.ended
        return chunks

    @property
    def at_hand(self) -> bool:
        """True if `read` will not wait, as far as is known."""
        return bool(self._parts) or getattr(self._response, "at_hand", False) is True

    async def drain(self) -> None:
        """Read what follows the end of the message, so that the connection can be reused; only briefly."""
        try:
            async with asyncio.timeout(_DRAIN):
                while await self._response.chunk():
                    continue
        except (TimeoutError, UpstreamError):
            return


async def whole(response: UpstreamResponse, reader: AnswerReader) -> dict[str, Any]:
    """The whole answer as a `chat.completion`, or `{"error": …}`. Raises the UpstreamError family."""
    data = await body_of(response)
    return await beside(len(data) >= LARGE, _read, reader, data)


def _read(reader: AnswerReader, data: bytes) -> dict[str, Any]:
    if data.count(b"{") + data.count(b"[") > MAX_NESTING:
        check_nesting(_parsed(data))
    completion = reader.whole(data)
    AnswerBounds().read((completion,))
    return completion


def _parsed(data: bytes) -> Any:
    """`data` as JSON, None if it is invalid: the reader gives a better error."""
    try:
        return json_text.loads(data, exact=False, large=len(data) >= LARGE)
    except ValueError:
        return None
