"""Reading answers that stream server-sent events: what the dialects of such APIs have in common."""

from abc import ABC, abstractmethod
from typing import Any, Final

import orjson

from openai_proxy.dialects import json_text, sse
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.halves import Halves
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of a whole answer: a few inlined images."""


_loads: Final = orjson.loads  # kept: a module's attribute is looked up at every call
_SPACE: Final = b"\xef\xbb\xbf \t\r\n"
"""What may stand before a whole answer, a byte order mark included."""

_MAX_LEAD: Final = 1024  # bytes of it that are kept


class EventReader(ABC):
    """The part of `base.AnswerReader` that is the same for every API with server-sent events.

    A dialect says what one event means (`_event`), what the end means (`_finish`) and what a whole answer means
    (`_completion`, `_as_chunk`). What comes is told by its first byte, since labels are often wrong.
    """

    def __init__(self) -> None:
        self._events = sse.EventSplitter()
        self._begun = False
        self._lead = b""  # space that came before anything else
        self._document: list[bytes] | None = None  # a whole answer where events were asked for
        self._size = 0
        self._data = b""  # the event at hand
        self._halves = Halves()
        self.ended = False  # the end of the message has come, or an error: nothing after it is read

    def feed(self, data: bytes) -> list[Chunk]:
        """See base.AnswerReader."""
        if not self._begun:
            data = self._lead + data
            bare = data.lstrip(_SPACE)
            if not bare:
                self._lead = data[:_MAX_LEAD]
                return []
            self._begun = True
            if bare[0] in b"{[":
                self._document = []
        if self._document is not None:
            self._hold(data)
            return []
        chunks: list[Chunk] = []
        for event in self._events.feed(data):
            if self.ended:
                break
            self._read(event.data, chunks)
        return chunks

    def end(self) -> list[Chunk]:
        """See base.AnswerReader."""
        chunks: list[Chunk] = []
        if self._document is not None:
            if not self.ended:
                answer = self.whole(b"".join(self._document))
                self.ended = True
                chunks.append(answer if "error" in answer else self._as_chunk(answer))
            return chunks
        try:
            for event in self._events.flush():
                if not self.ended:
                    self._read(event.data, chunks)
        except UpstreamInvalid:
            chunks.clear()  # the first half of an event: what matters is whether the answer was whole before it
        if not self.ended:
            self._finish(chunks)
            self.ended = True
        return chunks

    def whole(self, data: bytes) -> dict[str, Any]:
        """See base.AnswerReader."""
        if data.lstrip(_SPACE)[:1] not in (b"{", b"["):
            return self._folded(data)
        try:
            document = json_text.loads(data)
        except ValueError:
            raise UpstreamInvalid("The provider sent something that is not JSON in its answer.") from None
        return self._completion(document)

    def _hold(self, data: bytes) -> None:
        assert self._document is not None
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large")
        self._document.append(data)

    def _folded(self, data: bytes) -> dict[str, Any]:
        """A stream where a whole answer was asked for."""
        from openai_proxy.dialects.chat.fold import MessageFold

        fold = MessageFold()
        for chunk in [*self.feed(data), *self.end()]:
            if "error" in chunk:
                return chunk
            fold.feed(chunk)
        if not fold.indices:
            raise UpstreamTruncated("The provider sent an empty answer.")
        return fold.completion(think=False)

    def _read(self, data: bytes, chunks: list[Chunk]) -> None:
        if data.startswith(sse.DONE):
            self._done(chunks)
            return
        try:
            event = _loads(data)
        except orjson.JSONDecodeError:
            if not data.strip():
                return
            try:
                event = json_text.loads(data, exact=False)
            except ValueError:
                raise UpstreamInvalid("The provider sent something that is not JSON in its answer.") from None
        # A search for one byte takes a tenth of that for several: nearly no event holds a backslash.
        if self._halves.held or (b"\\" in data and (b"\\ud" in data or b"\\uD" in data)):
            event = self._halves.mend(event)
        self._data = data
        self._event(event, chunks)

    def _exactly(self) -> Any:
        """The event at hand, read again with every digit of its numbers: for arguments that come as an object."""
        return json_text.loads(self._data)

    def _done(self, chunks: list[Chunk]) -> None:
        """`[DONE]` has come; most APIs have no such event."""
        self.ended = True

    @abstractmethod
    def _event(self, event: Any, chunks: list[Chunk]) -> None:
        """Add to `chunks` what `event`, any JSON value, makes. Raises UpstreamInvalid."""

    def _finish(self, chunks: list[Chunk]) -> None:
        """The stream has ended, and the message had not. Raises UpstreamTruncated where that matters."""
        raise UpstreamTruncated("The provider broke off in the middle of its answer.")

    @abstractmethod
    def _completion(self, document: Any) -> dict[str, Any]:
        """A whole answer's `document` as a `chat.completion`, or `{"error": …}`. Raises UpstreamInvalid."""

    def _as_chunk(self, completion: dict[str, Any]) -> Chunk:
        """A whole completion as the one chunk of a stream."""
        from openai_proxy.dialects.chat.tidy import as_chunk

        return as_chunk(completion)
