"""A provider's answer as chat chunks, whether it streams or not, compressed or not."""

import json
import zlib
from typing import Any, Final

import orjson

from openai_proxy.dialects import sse
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import UpstreamResponse

MAX_COMPLETION: Final = 64 * 1024 * 1024
MAX_ERROR: Final = 1024 * 1024


class ChunkReader:
    """Reads one answer. A whole completion is one chunk: its `message` counts as a delta."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response
        self._splitter = sse.EventSplitter()
        self._inflate = _inflater(header(response, b"content-encoding"))
        self._fresh = True
        self.ended = False  # [DONE] or the end of the body has come

    async def read(self) -> list[dict[str, Any]]:
        """The next chunks, perhaps none; none and `ended` at the end.

        Raises UpstreamTruncated, UpstreamTimeout and UpstreamInvalid.
        """
        data = await self._response.chunk()
        if data and self._inflate is not None:
            data = self._plain(data)
            if not data:
                return []
        if self._fresh and data.lstrip():
            self._fresh = False
            if data.lstrip().startswith(b"{"):
                return [await self._whole(data)]
        if not data:
            self.ended = True
        events = self._splitter.feed(data) if data else self._splitter.flush()
        chunks: list[dict[str, Any]] = []
        for event in events:
            if event.data.startswith(sse.DONE):
                self.ended = True
                break
            if not event.data.strip():
                continue
            try:
                chunks.append(_json(event.data))
            except UpstreamInvalid:
                if data:
                    raise
                break  # the body ended within an event: what matters is whether the answer was whole before
        return chunks

    async def _whole(self, data: bytes) -> dict[str, Any]:
        """A whole completion that begins with `data`: told by its first byte, since labels are often wrong."""
        rest = await self._response.read(MAX_COMPLETION)
        self.ended = True
        return _json(data + (self._plain(rest) if self._inflate is not None and rest else rest))

    def _plain(self, data: bytes) -> bytes:
        assert self._inflate is not None
        try:
            return self._inflate.decompress(data)
        except zlib.error:
            raise UpstreamInvalid("The provider's compressed answer is damaged.") from None


def header(response: UpstreamResponse, name: bytes) -> bytes:
    """The value of a header field, lower case; empty if there is none."""
    return next((value.lower() for key, value in response.headers if key.lower() == name), b"")


def _inflater(coding: bytes) -> "zlib._Decompress | None":
    if coding in (b"", b"identity"):
        return None
    if coding in (b"gzip", b"x-gzip", b"deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: either header
    raise UpstreamInvalid("The provider answered in a compression nobody asked for.")


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except ValueError:
        try:
            value = json.loads(data)  # half a character ("\\ud83d") and NaN are beyond the fast parser
        except (ValueError, RecursionError):
            raise UpstreamInvalid("The provider sent something that is not JSON in its answer.") from None
    if not isinstance(value, dict):
        raise UpstreamInvalid("The provider sent something that is no chat completion.")
    return value
