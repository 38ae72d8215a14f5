"""Incremental parsing of server-sent events. No I/O.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream, read as leniently
as providers write it: lines end in LF, CR or CRLF, the space after the colon is optional, comments may be anywhere, a
byte order mark may come first, and the last event may lack its blank line (`flush`).
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from openai_proxy.errors import UpstreamInvalid

DONE: Final = b"[DONE]"
"""The data of the event that ends an OpenAI stream."""

MAX_EVENT: Final = 32 * 1024 * 1024
"""Maximum bytes of one event. An inlined image is a few MB of base64; anything larger is not a legitimate answer."""

ENDS: Final = 4096
"""Bytes that are kept of each end of an event that is dropped for its size."""

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

    Time is linear in the bytes fed, however they are cut: no byte is scanned twice.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._line = bytearray()  # the incomplete line
        self._data: list[bytes] = []  # the data lines of the incomplete event
        self._size = 0  # bytes in _data
        self._name = ""
        self._name_line = b""  # the last line that named an event, and the name
        self._last_name = ""
        self._usual = b"data: "  # the beginning of an event like the last one
        self._usual_name = ""
        self._id = ""
        self._after_cr = False  # the last byte was CR: a following LF belongs to it
        self._at_start = True  # a byte order mark may still come

    def feed(self, data: bytes) -> list[Event]:
        """The events completed by `data`. Raises UpstreamInvalid (`upstream_event_too_large`) past the limit."""
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
                        self._name = self._last_name  # nearly every event has the same name as the one before it
                    else:
                        self._field(line)
                elif self._data:
                    events.append(self._event())
                else:
                    self._name = ""
        if tail:
            self._line += tail
            if len(self._line) + self._size > self._max:
                raise _too_large(self._max)
        return events

    def _is_idle(self) -> bool:
        return not (self._line or self._data or self._after_cr or self._at_start or self._name)

    def flush(self) -> list[Event]:
        """The event completed by the end of the stream, if any (the standard drops it; some providers need it)."""
        if self._line:
            self._field(bytes(self._line))
            self._line.clear()
        return [self._event()] if self._data else []

    def _skip_bom(self, data: bytes) -> bytes:
        data = bytes(self._line) + data
        self._line.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._line += data  # possibly the first bytes of a mark: wait for the rest
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
                return  # `retry`, or an unknown field: ignored as the standard requires
        self._size += len(value) + 1
        if self._size > self._max:
            raise _too_large(self._max)
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


class RawEvents:
    """Cuts a byte stream into whole events with their exact bytes; the bytes may be cut anywhere.

    For a relay that changes some events and passes the others on. Time is linear: while an event is incomplete, only
    new bytes are scanned. With `too_large`, an event past the limit is no error: it is dropped as it arrives, and
    replaced by what `too_large` makes of its beginning, size and end.
    """

    __slots__ = ("_head", "_max", "_pieces", "_size", "_tail", "_too_large")

    def __init__(
        self, max_event: int = MAX_EVENT, too_large: Callable[[bytes, int, bytes], bytes] | None = None
    ) -> None:
        self._max = max_event
        self._too_large = too_large
        self._head: bytes | None = None  # set while an event past the cap is being dropped
        self._pieces: list[bytes] = []  # the incomplete event
        self._size = 0
        self._tail = b""  # its last two bytes: they may begin a blank line

    def feed(self, data: bytes) -> list[bytes]:
        """The events completed by `data`, including blank lines. Raises UpstreamInvalid past the limit."""
        seam = len(self._tail)
        match = _BOUNDARY.search(self._tail + data)
        if match is None:
            self._hold(data)
            return []
        end = match.end() - seam
        self._pieces.append(data[:end])
        self._size += end
        events = [self.rest()]
        start = end
        for match in _BOUNDARY.finditer(data, end):
            events.append(data[start : match.end()])
            start = match.end()
        if start < len(data):
            self._hold(data[start:])
        return events

    def rest(self) -> bytes:
        """The bytes after the last blank line, which are then no longer held."""
        rest = b"".join(self._pieces)
        if self._head is not None and self._too_large is not None:
            rest = self._too_large(self._head, self._size, rest[-ENDS:])
        self._pieces, self._size, self._tail, self._head = [], 0, b"", None
        return rest

    def _hold(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._tail = (self._tail + data)[-2:]
        if self._size <= self._max:
            return
        if self._too_large is None:
            raise _too_large(self._max)
        held = b"".join(self._pieces)
        if self._head is None:
            self._head = held[:ENDS]
        self._pieces = [held[-ENDS:]]


def _too_large(limit: int) -> UpstreamInvalid:
    return UpstreamInvalid(f"The provider sent an event of more than {limit} bytes.", code="upstream_event_too_large")


def encode(data: bytes) -> bytes:
    """One event with `data`, which must not contain line ends (JSON never does)."""
    return b"data: " + data + b"\n\n"
