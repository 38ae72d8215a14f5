"""Server-sent events, taken apart as they come. No I/O.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream, read as
leniently as providers write it: lines end in LF, CR or CRLF, the space after the colon may be missing, comments stand
anywhere, a byte order mark may stand in front, and the last event may lack its blank line (`flush`).
"""

import re
from typing import Final, NamedTuple

from openai_proxy.errors import UpstreamInvalid

DONE: Final = b"[DONE]"
"""The data of the event that ends an OpenAI stream."""

MAX_EVENT: Final = 32 * 1024 * 1024
"""Bytes one event may have. An inlined image is a few MB of base64; more than this is no answer but a flood."""

_BOM: Final = b"\xef\xbb\xbf"
_BOUNDARY: Final = re.compile(rb"\n\r?\n|\r\r")
"""A blank line: `\\r\\n\\r\\n` ends in `\\n\\r\\n`."""


class Event(NamedTuple):
    """One event: its data (several `data:` lines joined by LF) and, where given, its name and id."""

    data: bytes
    name: str = ""
    id: str = ""


class EventSplitter:
    """Cuts a byte stream into events; the bytes may be cut anywhere.

    Time is linear in the bytes fed, whatever their cuts: what is known is never looked at twice.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._line = bytearray()  # the line whose end has not come
        self._data: list[bytes] = []  # the data lines of the event whose end has not come
        self._size = 0  # bytes in _data
        self._name = ""
        self._name_line = b""  # the last line that named an event, and the name
        self._last_name = ""
        self._usual = b"data: "  # what an event begins with that is like the last one
        self._usual_name = ""
        self._id = ""
        self._after_cr = False  # the last byte was CR: an LF right after it belongs to it
        self._at_start = True  # a byte order mark may still come

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises UpstreamInvalid (`upstream_event_too_large`) past the cap."""
        usual = self._usual
        if data.startswith(usual) and data.endswith(b"\n\n") and self._is_idle() and len(data) <= self._max:
            size = len(usual)
            if data.find(b"\n", size) == len(data) - 2 and data.find(b"\r", size) < 0:
                return [Event(data[size:-2], self._usual_name, self._id)]  # nearly always: one event, like the last
        if self._at_start:
            data = self._skip_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data:
            return []
        if b"\r" in data:
            lines = data.splitlines()  # bytes split at LF, CR and CRLF only
            last = data[-1]
            self._after_cr = last == 0x0D
            tail = b"" if last in (0x0A, 0x0D) else lines.pop()
        else:
            lines = data.split(b"\n")
            tail = lines.pop()
        events: list[Event] = []
        if lines:
            if self._line:
                self._line += lines[0]
                lines[0] = bytes(self._line)
                self._line.clear()
            for line in lines:
                if line:
                    if line == self._name_line:
                        self._name = self._last_name  # nearly every event is called like the one before it
                    else:
                        self._field(line)
                elif self._data:
                    events.append(self._event())
                else:
                    self._name = ""
        if tail:
            self._line += tail
            if len(self._line) + self._size > self._max:
                self._too_large()
        return events

    def _is_idle(self) -> bool:
        return not (self._line or self._data or self._after_cr or self._at_start or self._name)

    def flush(self) -> list[Event]:
        """The event that the end of the stream completes, if any (the standard drops it; some providers need it)."""
        if self._line:
            self._field(bytes(self._line))
            self._line.clear()
        return [self._event()] if self._data else []

    def _skip_bom(self, data: bytes) -> bytes:
        data = bytes(self._line) + data
        self._line.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._line += data  # perhaps the first bytes of a mark: wait for the rest
            return b""
        self._at_start = False
        return data.removeprefix(_BOM)

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
        else:
            key, _, value = line.partition(b":")
            if not key:
                return  # a comment
            value = value.removeprefix(b" ")
            if key == b"event":
                self._name = self._last_name = value.decode(errors="replace")
                self._name_line = line
                return
            if key == b"id":
                self._id = value.decode(errors="replace")
                return
            if key != b"data":
                return  # `retry`, or nothing we know: ignored by the standard
        self._size += len(value) + 1
        if self._size > self._max:
            self._too_large()
        self._data.append(value)

    def _event(self) -> Event:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = Event(data, self._name, self._id)
        if self._name != self._usual_name:
            self._usual_name = self._name
            self._usual = self._name_line + b"\ndata: " if self._name else b"data: "
        self._data = []
        self._size = 0
        self._name = ""
        return event

    def _too_large(self) -> None:
        raise UpstreamInvalid(
            f"The provider sent an event of more than {self._max} bytes.", code="upstream_event_too_large"
        )


class RawEvents:
    """Cuts a byte stream into whole events, each in the very bytes it came in; the bytes may be cut anywhere.

    For a relay that changes some events and passes the others on. Time is linear: while an event has no end, only the
    new bytes are looked at.
    """

    __slots__ = ("_max", "_pieces", "_size", "_tail")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._pieces: list[bytes] = []  # the event whose end has not come
        self._size = 0
        self._tail = b""  # its last two bytes: they may begin a blank line

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, blank lines included. Raises UpstreamInvalid for one past the cap."""
        seam = len(self._tail)
        match = _BOUNDARY.search(self._tail + data)
        if match is None:
            self._hold(data)
            return []
        end = match.end() - seam
        events = [b"".join([*self._pieces, data[:end]])]
        self._pieces, self._size, self._tail = [], 0, b""
        start = end
        for match in _BOUNDARY.finditer(data, end):
            events.append(data[start : match.end()])
            start = match.end()
        if start < len(data):
            self._hold(data[start:])
        return events

    def rest(self) -> bytes:
        """What came behind the last blank line; it is not held any more."""
        rest = b"".join(self._pieces)
        self._pieces, self._size, self._tail = [], 0, b""
        return rest

    def _hold(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._tail = (self._tail + data)[-2:]
        if self._size > self._max:
            raise UpstreamInvalid(
                f"The provider sent an event of more than {self._max} bytes.", code="upstream_event_too_large"
            )


def encode(data: bytes) -> bytes:
    """One event with `data`, which holds no line end (JSON never does)."""
    return b"data: " + data + b"\n\n"
