"""Reads the body of a recorded answer, whatever its encoding, into a `RecordedAnswer`."""

import re
from functools import lru_cache
from typing import Final

import orjson

from openai_proxy.exchange import Headers
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.answer_formats import METERED, AnswerFormat
from openai_proxy.records.reading.decoding import decoder
from openai_proxy.records.reading.stream import LineReader, RecordedStreamReader
from openai_proxy.records.writing import textjson

MAX_JSON: Final = 16 * 1024 * 1024  # bytes of a whole JSON answer
_TAIL: Final = 8192  # bytes at the end of an unread answer that contain its usage
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{(?:[^{}]|\{[^{}]*\})*\}')


def media_type(headers: Headers) -> tuple[str, str]:
    """Content-Type without parameters, and Content-Encoding, both lower case, "" if absent."""
    kind = coding = b""
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            kind = value
        elif len(name) == 16 and name.lower() == b"content-encoding":
            coding = value
    return _readable(kind, coding)


@lru_cache(256)
def _readable(kind: bytes, coding: bytes) -> tuple[str, str]:
    return kind.partition(b";")[0].strip().lower().decode("latin-1"), coding.strip().lower().decode("latin-1")


class BodyReader:
    """Reads one answer. `note` says why there is no text, if there is none."""

    __slots__ = ("_answer", "_decoder", "_dialect", "_parts", "_size", "_stream", "note")

    def __init__(self, answer: RecordedAnswer, dialect: AnswerFormat, kind: str, coding: str) -> None:
        self._answer = answer
        self._dialect = dialect
        self._decoder = decoder(coding)
        self._stream: RecordedStreamReader | LineReader | None = None
        if kind == "text/event-stream":
            self._stream = RecordedStreamReader(answer, dialect)
        elif kind == "application/x-ndjson":
            self._stream = LineReader(answer, dialect)
        self._parts: list[bytes] = []
        self._size = 0
        self.note: str | None = None

    def feed(self, data: bytes) -> None:
        """More bytes of the wire."""
        if self._decoder is None:
            self._take(data)
            return
        for piece in self._decoder.pieces(data):
            self._take(piece)

    def _take(self, data: bytes) -> None:
        if not data:
            return
        if self._stream is not None:
            self._stream.feed(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_JSON or (self._dialect is METERED and self._size > 2 * MAX_JSON // 256):
            self._parts = [b"".join(self._parts)[-_TAIL:]]
            self._size = len(self._parts[0])
            self.note = "answer too large to be recorded"

    def finish(self) -> None:
        """The answer is over, cleanly or not."""
        if self._decoder is not None and self._decoder.broken:
            self.note = "content coding could not be read"
        if self._stream is not None:
            self._stream.finish()
            return
        body = b"".join(self._parts)
        self._parts = []
        if self.note is not None:
            self._usage_in(body)
        elif body:
            self._whole(body)

    def _whole(self, body: bytes) -> None:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = textjson.tolerant(body)
            self._answer.malformed += 1
        if value is textjson.NOTHING:
            self._answer.malformed -= 1  # counted below, or where it is read
            if body.startswith((b"data:", b"event:", b":")):
                # An event stream with the wrong type: some servers say application/json or text/plain.
                stream = RecordedStreamReader(self._answer, self._dialect)
                stream.feed(body)
                stream.finish()
            else:
                self._answer.unreadable(textjson.readable(body, 2048))
            return
        self._dialect.whole(self._answer, value)

    def _usage_in(self, body: bytes) -> None:
        found = _USAGE.search(body[-_TAIL:])
        if found is not None:
            usage = textjson.tolerant(b"{" + found[0] + b"}")
            if isinstance(usage, dict) and isinstance(usage.get("usage"), dict):
                self._answer.usage = usage["usage"]
