"""Server-sent events of a recorded answer, folded in bulk.

A stream consists of hundreds of nearly equal events. Handled singly, each costs 5 µs of Python; the budget is about
one. So a block of whole events is tried in this order (per event of 200 bytes, CPython 3.11):

- by template (`event_templates.py`), 0.2 µs: if an event is `P + text + S` with P and S equal in all of them, the bare
  texts together parse as one JSON string. S ends with a blank line, which no JSON string can contain, so it ends an
  event; and with anything else in a text the string would not parse. If times or padding vary, 0.5 µs.
- as one JSON array, 1.2 µs: the frames between events replaced by commas.
- event by event, whatever the stream looks like (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

import re
from typing import Any, Final

import orjson

from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.answer_formats import AnswerFormat
from openai_proxy.records.reading.event_templates import EventTemplate, learn
from openai_proxy.records.writing import textjson

MAX_EVENT = 8 * 1024 * 1024  # bytes of one event; longer ones are counted and skipped
MAX_MALFORMED = 1000  # events that are not JSON, after which a stream is not read any further
_BLANK: Final = re.compile(rb"\n[\r\n]|\r\r")
"""Possible empty lines. CR, LF and CRLF all end a line."""
_DONE = b"data: [DONE]\n\n"
_SAMPLE = 4  # events of a block that are parsed to learn a template: the first of a stream often has only the role
_FRUITLESS = 3  # unsuccessful templates before a stream is considered to have varying events


class LineReader:
    """Folds a stream of JSON lines into an answer: Ollama's streams."""

    __slots__ = ("_answer", "_dialect", "_held", "_size")

    def __init__(self, answer: RecordedAnswer, dialect: AnswerFormat) -> None:
        self._answer = answer
        self._dialect = dialect
        self._held: list[bytes] = []  # the incomplete line
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Fold every line completed by `data`."""
        first, *rest = data.split(b"\n")
        self._hold(first)
        for line in rest:
            self.finish()
            self._hold(line)

    def finish(self) -> None:
        """End the stream: a line without its end counts, too."""
        line = b"".join(self._held)
        self._held.clear()
        self._size = 0
        self._line(line)

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._size += len(piece)
        if self._size > MAX_EVENT:
            self._answer.unreadable("")
            self._held = []  # the rest is not JSON, and is counted as such
            self._size = 0

    def _line(self, line: bytes) -> None:
        if not line.strip() or self._answer.malformed > MAX_MALFORMED:
            return
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            self._answer.unreadable(textjson.readable(line, 2048))
            return
        self._dialect.event(self._answer, value)


class RecordedStreamReader:
    """Folds the bytes of an event stream into an answer."""

    __slots__ = ("_answer", "_dialect", "_held", "_held_size", "_skipping", "_template", "_vain")

    def __init__(self, answer: RecordedAnswer, dialect: AnswerFormat) -> None:
        self._answer = answer
        self._dialect = dialect
        self._held: list[bytes] = []  # the incomplete event
        self._held_size = 0
        self._skipping = False
        self._template: EventTemplate | None = None
        self._vain = 0 if dialect.bulk else _FRUITLESS

    def feed(self, data: bytes) -> None:
        """Fold every event completed by `data`."""
        if self._held:
            # The end of an event may be cut in two; held bytes are searched again only if it could now be visible.
            seam = self._held[-1][-1:]
            if _BLANK.search(seam + data) is None and self._held_size + len(data) <= MAX_EVENT:
                self._hold(data)
                return
            data = b"".join([*self._held, data])
            self._held.clear()
            self._held_size = 0
        if b"\r" in data:
            # CR, LF and CRLF all end a line; a CR at the very end may be half of a CRLF.
            last = b"\r" if data.endswith(b"\r") else b""
            data = data.replace(b"\r\n", b"\n")
            data = (data[:-1] if last else data).replace(b"\r", b"\n") + last
        cut = data.rfind(b"\n\n") + 2
        if cut == 1:
            self._hold(data)
            return
        if cut < len(data):
            self._hold(data[cut:])
            data = data[:cut]
        if self._skipping:
            self._skipping = False
            data = data[data.index(b"\n\n") + 2 :]
        if data:
            self._block(data)

    def finish(self) -> None:
        """End the stream: an event without its blank line counts, too."""
        rest = b"".join(self._held)
        self._held.clear()
        if rest.strip() and not self._skipping:
            self._each(rest.replace(b"\r", b"\n"))

    def _hold(self, data: bytes) -> None:
        if self._skipping:
            data = data[-1:]
            self._held.clear()
        self._held.append(data)
        self._held_size = len(data) if self._skipping else self._held_size + len(data)
        if self._held_size > MAX_EVENT:
            self._answer.unreadable("")
            self._held = [data[-1:]]
            self._held_size = 1
            self._skipping = True

    def _block(self, block: bytes) -> None:
        if self._template is not None and self._by_template(block):
            return
        if self._vain < _FRUITLESS:
            block = self._learned(block)
            if self._template is not None and self._by_template(block):
                return
        if block:
            self._array(block)

    def _by_template(self, block: bytes) -> bool:
        """Fold `block` if its events match the template; otherwise nothing is done."""
        template = self._template
        assert template is not None
        cut = template.cut(block)
        if cut is None:
            return False
        before, texts, after = cut
        try:
            text = orjson.loads(b'"' + texts + b'"')
        except orjson.JSONDecodeError:
            self._template = None
            return False
        if before:
            self._array(before)
        template.add(text)
        if after:
            self._array(after)
        self._vain = 0
        return True

    def _learned(self, block: bytes) -> bytes:
        """Fold the first events of `block` and learn from the last two of them; returns the rest."""
        raws = block.split(b"\n\n", _SAMPLE)
        if len(raws) <= _SAMPLE:
            return block
        rest = raws[_SAMPLE]
        events = self._array(block[: len(block) - len(rest)])
        self._vain += 1
        if len(events) == _SAMPLE:
            self._template = learn(raws[_SAMPLE - 2 : _SAMPLE], events[-2:], self._answer)
        return rest

    def _array(self, block: bytes) -> list[Any]:
        """Fold all of `block`; returns its events, if that was possible."""
        text = block
        if text.endswith(_DONE):
            text = text[: -len(_DONE)]
            if not text:
                return []
        if not text.startswith(b"data: "):
            self._each(block)
            return []
        try:
            events: list[Any] = orjson.loads(b"[" + text[6:-2].replace(b"\n\ndata: ", b",") + b"]")
        except orjson.JSONDecodeError:
            self._each(block)
            return []
        fold, answer = self._dialect.event, self._answer
        for event in events:
            fold(answer, event)
        return events

    def _each(self, block: bytes) -> None:
        for event in block.split(b"\n\n"):
            if self._answer.malformed > MAX_MALFORMED:
                return
            data = [
                line[6:] if line.startswith(b"data: ") else line[5:]
                for line in event.split(b"\n")
                if line.startswith(b"data:")
            ]
            if data:
                self._one(b"\n".join(data))

    def _one(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            return
        if not data.strip():
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = textjson.tolerant(data)
            if event is textjson.NOTHING:
                self._answer.unreadable(textjson.readable(data, 2048))
                return
            self._answer.malformed += 1
        self._dialect.event(self._answer, event)
