"""HTTP/1.1 response heads and body framing on the wire, without a socket.

A pass-through answer is relayed directly: its head loses the hop-by-hop fields, its body keeps its exact bytes and
chunk framing. So nothing here decodes more than necessary, and everything malformed is refused (RFC 9112; as strict as
aiohttp's llhttp settings, because leniency has a long list of CVEs).
"""

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64  # a machine integer to mypyc, otherwise a plain int

MAX_HEAD: Final = 64 * 1024
"""Maximum bytes of a response head: nginx allows 4-8 KiB a buffer, HAProxy 16 KiB; providers' CSP fields need more."""
MAX_FIELDS: Final = 256
MAX_TRAILERS: Final = 16 * 1024
MAX_CHUNK_LINE: Final = 4096

_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\r\n\0]*))?\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*)\Z"
)
_INTERESTING: Final = re.compile(
    rb"^(connection|content-encoding|content-length|content-type|location|retry-after|transfer-encoding|"
    rb"x-request-id|keep-alive):([^\r\n]*)\r$",
    re.IGNORECASE | re.MULTILINE,
)
_STOPS_HERE: Final = re.compile(
    rb"^(?:connection|keep-alive|proxy-authenticate|proxy-authorization|proxy-connection|te|trailer|upgrade|"
    rb"set-cookie2?|access-control-[^:\r\n]*|alt-svc):[^\r\n]*\r\n",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD: Final = re.compile(rb"^([^:\r\n]+):([^\r\n]*)\r$", re.MULTILINE)
_SPACE: Final = b" \t"
"""Removed from values afterwards: a pattern that searches for the start of trailing spaces is quadratic."""


class Malformed(ValueError):
    """The peer violates HTTP/1.1; the text says where."""


class ResponseHead:
    """One response head, validated; fields are parsed only on demand. Shared, so it must not be changed."""

    __slots__ = (
        "_connection", "_free_of", "_free_opening", "_keep_alive", "_opening", "chunked", "content_encoding",
        "content_type", "fields", "has_request_id", "http10", "keep_alive", "length", "media", "reason", "status",
        "streams",
    )  # fmt: skip

    def __init__(self, head: bytes) -> None:
        """`head` is the status line and fields, each line with its CRLF, without the final empty line."""
        match = _HEAD.match(head)
        if match is None:
            raise Malformed("response head")
        minor, status, reason, self.fields = match.groups()
        self.status = int(status)
        self.reason = reason or b""
        self.http10 = minor == b"0"
        self.keep_alive = not self.http10
        self.length: int | None = None
        self.chunked = False
        self.content_type = b""
        self.content_encoding = b""
        self.has_request_id = False
        self._connection = b""
        self._keep_alive = b""
        self._opening = b""
        self._free_of: tuple[bytes, ...] | None = None  # secrets, …
        self._free_opening = b""  # … and the opening without them
        if self.fields.count(b"\r\n") > MAX_FIELDS:
            raise Malformed("too many header fields")
        for name, padded in _INTERESTING.findall(self.fields):
            kind = name.lower()
            value = padded.strip(_SPACE)
            if kind == b"content-length":
                if self.length is not None or not value.isdigit() or len(value) > 18:
                    raise Malformed("Content-Length")
                self.length = int(value)
            elif kind == b"transfer-encoding":
                if self.chunked or value.lower() != b"chunked":
                    raise Malformed("Transfer-Encoding")
                self.chunked = True
            elif kind == b"content-type":
                self.content_type = value
            elif kind == b"content-encoding":
                self.content_encoding = value
            elif kind == b"keep-alive":
                self._keep_alive = value
            elif kind == b"x-request-id":
                self.has_request_id = True
            elif kind == b"connection":
                tokens = value.lower()
                self._connection += b"," + tokens
                if b"close" in tokens:
                    self.keep_alive = False
                elif self.http10 and b"keep-alive" in tokens:
                    self.keep_alive = True
        if self.chunked and self.length is not None:
            raise Malformed("both Content-Length and Transfer-Encoding")
        self.media = ((b"content-type", self.content_type), (b"content-encoding", self.content_encoding))
        """What a record needs to know about the body."""
        self.streams = self.content_type[:20].lower().startswith((b"text/event-stream", b"application/x-ndjson"))
        """True if the body is a stream of events or lines."""

    def get(self, name: bytes) -> bytes | None:
        """The first value of one of the interesting fields (lower-case name), or None."""
        for found, value in _INTERESTING.findall(self.fields):
            if found.lower() == name:
                return bytes(value.strip(_SPACE))
        return None

    def keep_alive_timeout(self) -> float | None:
        """Seconds for which the server keeps an idle connection (RFC 2068 §19.7.1 Keep-Alive: timeout=N), or None."""
        for part in self._keep_alive.lower().split(b","):
            name, _, number = part.strip().partition(b"=")
            if name == b"timeout" and number.isdigit() and len(number) < 7:
                return float(number)
        return None

    def items(self) -> list[tuple[bytes, bytes]]:
        """Every field in order, case kept."""
        return [(name, value.strip(_SPACE)) for name, value in _FIELD.findall(self.fields)]

    def forwarded(self) -> bytes:
        """The field lines to pass on to a client: without hop-by-hop fields (RFC 9110 §7.6.1), and without cookies,
        CORS permissions and Alt-Svc, which the upstream means for its own clients.

        Transfer-Encoding and Content-Length are kept: the framing is relayed unchanged.
        """
        kept = _STOPS_HERE.sub(b"", self.fields)
        named = self.connection_options()
        if named:
            lines = kept.splitlines(keepends=True)
            kept = b"".join([line for line in lines if line.partition(b":")[0].lower() not in named])
        return kept

    def opening(self) -> bytes:
        """The part of the client's head that is taken from this one: the status line and the passed-on fields."""
        if not self._opening:
            self._opening = b"HTTP/1.1 %d %b\r\n" % (self.status, self.reason) + self.forwarded()
        return self._opening

    def opening_without(self, secrets: tuple[bytes, ...]) -> bytes:
        """`opening` without the lines that contain one of `secrets`."""
        if secrets is not self._free_of:
            opening = self.opening()
            for secret in secrets:
                if opening.find(secret) >= 0:  # `in` tries a number first, which costs ten times as much as the search
                    opening = b"".join([line for line in opening.splitlines(keepends=True) if secret not in line])
            self._free_of, self._free_opening = secrets, opening
        return self._free_opening

    def connection_options(self) -> set[bytes]:
        """Field names that Connection declares as hop-by-hop, besides the usual ones."""
        if self._connection in (b"", b",keep-alive", b",close"):
            return set()
        named = {token.strip() for token in self._connection.split(b",")}
        return named - {b"", b"close", b"keep-alive", b"upgrade", b"transfer-encoding", b"content-length"}


_HEADS: Final[dict[bytes, ResponseHead]] = {}
"""Recently parsed heads. Servers at home repeat theirs (llama.cpp exactly, uvicorn within the second of its Date), and
parsing one costs 6 µs; one that contains an id of the answer misses, for 0.3 µs. Bounded.
"""

MAX_HEADS: Final = 64
MAX_KNOWN_HEAD: Final = 1024  # maximum bytes of a head that is remembered


def read_head(raw: bytes) -> ResponseHead:
    """The head whose bytes are `raw`, as for ResponseHead; possibly a cached one. Raises Malformed."""
    head = _HEADS.get(raw)
    if head is None:
        head = ResponseHead(raw)
        if len(raw) <= MAX_KNOWN_HEAD:
            if len(_HEADS) >= MAX_HEADS:
                _HEADS.clear()
            _HEADS[raw] = head
    return head


class ParserState(IntEnum):
    """The state of a framing."""

    OPEN = 0
    DONE = 1
    BROKEN = 2


class LengthFraming:
    """A body of Content-Length bytes."""

    __slots__ = ("extra", "left", "state")
    chunked = False

    def __init__(self, length: int) -> None:
        self.left = length
        self.state = ParserState.OPEN if length else ParserState.DONE
        self.extra = False

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> bytes:
        """Take wire bytes; returns those that belong to the body. See ChunkedFraming.feed."""
        size = len(data)
        if size > self.left:
            self.extra = True
            data = data[: self.left]
            size = self.left
        self.left -= size
        if not self.left:
            self.state = ParserState.DONE
        if payload is not None and data:
            payload.append(data)
        return data

    def at_event_boundary(self) -> bool:
        """A body with a length cannot take another event."""
        return False


class CloseFraming:
    """A body that ends with the connection (RFC 9112 §6.3 rule 8)."""

    __slots__ = ()
    chunked = False
    state = ParserState.OPEN
    extra = False

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> bytes:
        """Take wire bytes; all belong to the body."""
        if payload is not None:
            payload.append(data)
        return data

    def at_event_boundary(self) -> bool:
        """The end of the connection is its clean end: a truncation cannot be seen."""
        return False


_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?\r\n")
_HEX: Final = bytes(int(chr(code), 16) if chr(code) in "0123456789abcdefABCDEF" else 255 for code in range(256))
"""The digit value of each byte in a chunk's size: compiled, this takes a quarter of a pattern's time per chunk."""
_SIZE_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{0,15}[ \t]*(?:;[^\r\n\0]*)?\r?\Z")


class ChunkedFraming:
    """Follows chunked transfer coding (RFC 9112 §7.1) without removing it.

    What `feed` returns always ends either inside a chunk's payload or exactly between two chunks: an incomplete size
    line is held back, so that the relay can append a chunk of its own if the upstream fails. Trailers are dropped.
    """

    __slots__ = ("_held", "_left", "_tail", "extra", "state")
    chunked = True

    def __init__(self) -> None:
        self._left = 0  # remaining payload bytes of this chunk, plus 2 for its CRLF
        self._held = b""
        self._tail = b""  # the last payload bytes, to detect the end of an event
        self.state = ParserState.OPEN
        self.extra = False

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> bytes:
        """Take wire bytes; returns those to pass on (nearly always `data` itself).

        With `payload`, the decoded pieces are appended to it. Sets `state`: DONE at the end of the body (`extra` if
        there are more bytes), BROKEN at the first malformed byte (everything before it is still returned).
        """
        if self._held:
            data = self._held + data
            self._held = b""
        end: i64 = len(data)
        position: i64 = 0
        left: i64 = self._left
        size: i64
        digit: i64
        while True:
            if left:
                stop = position + left
                last = stop - 2  # where this chunk's payload ends
                if stop > end:
                    if end > last and left > 1 and data[end - 1] != 0x0D:
                        return self._broken(data, position, left)
                    self._take(data, position, min(end, last), payload)
                    self._left = stop - end
                    return data
                if data[stop - 1] != 0x0A or (left > 1 and data[last] != 0x0D):
                    return self._broken(data, position, left)
                self._take(data, position, last, payload)
                position = stop
                left = self._left = 0
            if position == end:
                return data
            start = position
            size = 0
            while position < end and position < start + 8 and (digit := _HEX[data[position]]) < 16:
                size = size * 16 + digit
                position += 1
            if start < position < end - 1 and data[position] == 0x0D and data[position + 1] == 0x0A:
                position += 2
            else:  # an extension, a very long number, an incomplete line
                match = _SIZE.match(data, start)
                if match is None:
                    if end - start <= MAX_CHUNK_LINE and _SIZE_BEGUN.match(data, start):
                        self._held = data[start:]
                        return data[:start]
                    return self._broken(data, start)
                size, position = int(match[1], 16), match.end()
            if size == 0:
                return self._last_chunk(data, start, position)
            left = size + 2

    def _take(self, data: bytes, start: "i64", stop: "i64", payload: list[bytes] | None) -> None:
        size = stop - start
        if size >= 4:
            blank = data[stop - 1] == 0x0A and data[stop - 2] == 0x0A  # as nearly every event ends: no new object
            self._tail = b"\n\n" if blank else data[stop - 4 : stop]
        elif size > 0:
            self._tail = (self._tail + data[start:stop])[-4:]
        else:
            return
        if payload is not None:
            payload.append(data[start:stop])

    def _broken(self, data: bytes, position: int, left: int = 0) -> bytes:
        self.state = ParserState.BROKEN
        self._left = left  # not zero: what is passed on ends inside a chunk
        return data[:position]

    def _last_chunk(self, data: bytes, start: int, after: int) -> bytes:
        """Handle the zero chunk at `start`, whose trailers begin at `after`."""
        if data.startswith(b"\r\n", after):
            self.state = ParserState.DONE
            self.extra = len(data) > after + 2
            return data[: after + 2] if self.extra else data
        if (blank := data.find(b"\r\n\r\n", after)) >= 0:
            self.state = ParserState.DONE
            self.extra = len(data) > blank + 4
            return data[:start] + b"0\r\n\r\n"
        if len(data) - after > MAX_TRAILERS:
            return self._broken(data, start)
        self._held = data[start:]
        return data[:start]

    def at_event_boundary(self) -> bool:
        """True if what was returned so far ends between two chunks and between two server-sent events."""
        return not self._left and (not self._tail or self._tail.endswith((b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n")))


Framing = LengthFraming | ChunkedFraming | CloseFraming


def framing_for(head: ResponseHead, method: str) -> Framing:
    """How the body after `head` is delimited (RFC 9112 §6.3)."""
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        return LengthFraming(0)
    if head.chunked:
        return ChunkedFraming()
    if head.length is not None:
        return LengthFraming(head.length)
    return CloseFraming()
