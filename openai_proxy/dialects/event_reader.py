"""Shared code for reading answers as server-sent events."""

from abc import ABC, abstractmethod
from typing import Any, Final

import orjson

from openai_proxy.dialects import json_text, sse
from openai_proxy.dialects.base import MAX_ANSWER, Chunk, ReportedValues
from openai_proxy.dialects.halves import SurrogateJoiner
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.steps import find

MAX_PARTS: Final = 10_000
"""Maximum items or blocks of one answer. Claude's with many citations have some hundred."""


def too_many_parts() -> UpstreamInvalid:
    """The error for an answer with more than MAX_PARTS."""
    return UpstreamInvalid("The provider's answer has too many parts.", code="upstream_too_many_parts")


def folded(chunks: list[Chunk]) -> dict[str, Any]:
    """The `chat.completion` from tidy `chunks`, or `{"error": …}`. Raises UpstreamTruncated if there are none."""
    from openai_proxy.dialects.chat.fold import MessageFold

    fold = MessageFold()
    for chunk in chunks:
        if "error" in chunk:
            return chunk
        fold.feed(chunk)
    if not fold.indices:
        raise UpstreamTruncated("The provider sent an empty answer.")
    made = fold.completion(think=False)
    for choice in made["choices"]:
        for annotation in choice["message"].get("annotations") or ():
            annotation.pop("index", None)  # of a stream
    return made


_loads: Final = orjson.loads  # a name of this module, since a module's attribute is looked up at every call
_SPACE: Final = b"\xef\xbb\xbf \t\r\n"
"""What may precede a whole answer, including a byte order mark."""

_MAX_LEAD: Final = 1024  # maximum bytes before a whole answer


class EventReader(ABC):
    """The part of `base.JsonReader` that is the same for every API with server-sent events.

    A dialect defines the meaning of one event (`_event`), of the end (`_finish`) and of a whole answer (`completion`,
    `_as_chunk`). The form is recognised by the first byte, since Content-Types are often wrong.
    """

    def __init__(self) -> None:
        self._events = sse.EventSplitter()
        self._begun = False
        self._lead = b""  # leading whitespace
        self._document: list[bytes] | None = None  # a whole answer instead of events
        self._size = 0
        self._data = b""  # the current event
        self._halves = SurrogateJoiner()
        self.ended = False  # the message has ended, or failed: the rest is ignored
        self.own = ReportedValues()

    def feed(self, data: bytes) -> list[Chunk]:
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
            chunks.clear()  # an incomplete event is ignored if the answer was complete before it
        if not self.ended:
            self._finish(chunks)
            self.ended = True
        return chunks

    def whole(self, data: bytes) -> dict[str, Any]:
        if data.lstrip(_SPACE)[:1] not in (b"{", b"["):
            return self._folded(data)
        try:
            document = json_text.loads(data, large=len(data) >= LARGE)
        except ValueError:
            raise UpstreamInvalid("The provider sent something that is not JSON in its answer.") from None
        return self.completion(document)

    def read(self, event: Any, chunks: list[Chunk]) -> None:
        if not self.ended:
            self._event(event, chunks)

    def error(self, status: int, data: bytes) -> dict[str, Any]:
        from openai_proxy.dialects.chat.errors import error_in

        return error_in(status, data)

    def _hold(self, data: bytes) -> None:
        assert self._document is not None
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large")
        self._document.append(data)

    def _folded(self, data: bytes) -> dict[str, Any]:
        """Read a stream instead of a whole answer."""
        return folded([*self.feed(data), *self.end()])

    def _read(self, data: bytes, chunks: list[Chunk]) -> None:
        if data.startswith(sse.DONE):
            self._done(chunks)
            return
        try:
            event = _loads(data) if len(data) < LARGE else json_text.loads(data, large=True)
        except orjson.JSONDecodeError:
            if not data.strip():
                return
            try:
                event = json_text.loads(data, exact=False)
            except ValueError:
                raise UpstreamInvalid("The provider sent something that is not JSON in its answer.") from None
        except ValueError:
            raise UpstreamInvalid("The provider sent something that is not JSON in its answer.") from None
        # Searching one byte takes a tenth of the time for several: nearly no event contains a backslash.
        if self._halves.held or (b"\\" in data and (find(data, b"\\ud") >= 0 or find(data, b"\\uD") >= 0)):
            event = self._halves.mend(event)
        self._data = data
        self._event(event, chunks)

    def _exactly(self, event: Any) -> Any:
        """`event`, parsed again with exact numbers, for arguments sent as an object."""
        return json_text.loads(self._data) if self._data else event

    def _done(self, chunks: list[Chunk]) -> None:
        """`[DONE]` was received; most APIs have no such event."""
        self.ended = True

    @abstractmethod
    def _event(self, event: Any, chunks: list[Chunk]) -> None:
        """Add what `event`, any JSON value, becomes to `chunks`. Raises UpstreamInvalid."""

    def _finish(self, chunks: list[Chunk]) -> None:
        """The stream has ended before the message did. Raises UpstreamTruncated if that matters."""
        raise UpstreamTruncated("The provider broke off in the middle of its answer.")

    @abstractmethod
    def completion(self, document: Any) -> dict[str, Any]:
        """A whole answer's `document` as a `chat.completion`, or `{"error": …}`. Raises UpstreamInvalid."""

    def _as_chunk(self, completion: dict[str, Any]) -> Chunk:
        """A whole completion as the single chunk of a stream."""
        from openai_proxy.dialects.chat.tidy import as_chunk

        return as_chunk(completion)
