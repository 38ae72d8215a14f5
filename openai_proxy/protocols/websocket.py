"""A WebSocket client's frames (RFC 6455 §5), split into messages and control frames, and a server's text messages, read
from a copy. No I/O.

Messages are returned whole and unmasked, control frames unchanged. Extensions are not supported: the caller removes
`Sec-WebSocket-Extensions` from the handshake. Protocol violations are refused, since a lenient server might read them
differently.
"""

import os
from dataclasses import dataclass
from typing import Final

MAX_MESSAGE: Final = 16 << 20
"""Bytes of one message, including its frame headers. OpenAI's Realtime API takes 15 MB."""

MAX_FRAMES: Final = 1 << 16
"""Frames of one message: browsers send one, or one every 128 KB."""

MAX_READ: Final = 1 << 20
"""Maximum bytes of a server's text message that is read; a larger one is skipped."""

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PONG: Final = 10
MAX_CONTROL: Final = 125  # bytes of a control frame's payload
_STEP: Final = 1 << 18  # bytes unmasked at a time; a multiple of the mask's length

NORMAL_CLOSURE: Final = 1000
PROTOCOL_ERROR: Final = 1002
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009


class WebSocketError(Exception):
    """The client violated the protocol; `code` is the status of the close frame to send."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """One whole message, TEXT or BINARY: `raw` are its frames, `starts` and `ends` where in them the data are."""

    kind: int
    raw: bytes
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def data(self) -> bytes:
        """The unmasked data. Takes 5 ms per megabyte, in small steps."""
        raw = self.raw
        places = zip(self.starts, self.ends, strict=True)
        return b"".join([unmasked(raw[start:end], raw[start - 4 : start]) for start, end in places])


class ClientFrames:
    """Splits what a client sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._raw = bytearray()  # the message so far, if one is open
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._kind = CONTINUATION  # of the unfinished message

    def feed(self, data: bytes) -> list[bytes | ClientMessage]:
        """The items that `data` completes: control frames to pass on, and messages. Raises WebSocketError."""
        self._buffer += data
        found: list[bytes | ClientMessage] = []
        while self._buffer and self._frame(found):
            pass
        return found

    def _frame(self, found: list[bytes | ClientMessage]) -> bool:
        """Take the frame at the start of the buffer; False if more of it must arrive first."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        first, second = buffer[0], buffer[1]
        if first & 0x70 or not second & 0x80:
            raise WebSocketError(PROTOCOL_ERROR, "A frame is not masked, or uses an extension.")
        size, start = second & 0x7F, 2
        if size > 125:
            start += 2 if size == 126 else 8
            if len(buffer) < start:
                return False
            size = int.from_bytes(buffer[2:start])
        start += 4  # the mask
        kind, final = first & 0x0F, bool(first & 0x80)
        self._check(kind, size, final)
        if len(buffer) < start + size:
            return False
        with memoryview(buffer) as view:
            raw = bytes(view[: start + size])
        del buffer[: start + size]
        if kind >= CLOSE:
            found.append(raw)
            return True
        if final and kind:
            found.append(ClientMessage(kind, raw, (start,), (len(raw),)))
            return True
        self._starts.append(len(self._raw) + start)
        self._raw += raw
        self._ends.append(len(self._raw))
        self._kind = kind or self._kind
        if final:
            found.append(ClientMessage(self._kind, bytes(self._raw), tuple(self._starts), tuple(self._ends)))
            for kept in (self._raw, self._starts, self._ends):
                kept.clear()
            self._kind = CONTINUATION
        return True

    def _check(self, kind: int, size: int, final: bool) -> None:
        if kind >= CLOSE:
            if kind > PONG or size > MAX_CONTROL or not final:
                raise WebSocketError(PROTOCOL_ERROR, "A control frame is malformed.")
        elif kind > BINARY or (kind == CONTINUATION) != (self._kind != CONTINUATION):
            raise WebSocketError(PROTOCOL_ERROR, "A frame has an unknown opcode, or is out of sequence.")
        elif len(self._raw) + size > MAX_MESSAGE or len(self._starts) >= MAX_FRAMES:
            raise WebSocketError(MESSAGE_TOO_BIG, "The message is too large, or in too many frames.")


class ServerMessages:
    """Extracts a server's text messages; everything else is skipped."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._over = 0  # bytes to skip
        self._text = bytearray()  # the message so far, if one is open
        self._in_text = False
        self._open = False  # the last frame was not its message's last

    @property
    def between(self) -> bool:
        """True if the server could send another message of its own now: none is under way."""
        return not (self._buffer or self._over or self._open)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages completed by `data`."""
        self._buffer += data
        found: list[bytes] = []
        while self._buffer:
            if self._over:
                passed = min(self._over, len(self._buffer))
                del self._buffer[:passed]
                self._over -= passed
            elif not self._frame(found):
                break
        return found

    def _frame(self, found: list[bytes]) -> bool:
        """Take the frame at the start of the buffer; False if more of it must arrive first."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        first, size, start = buffer[0], buffer[1] & 0x7F, 2
        if size > 125:
            start += 2 if size == 126 else 8
            if len(buffer) < start:
                return False
            size = int.from_bytes(buffer[2:start])
        start += 4 if buffer[1] & 0x80 else 0  # servers do not mask; one that does is not supported
        kind, final = first & 0x0F, bool(first & 0x80)
        if kind < CLOSE:
            self._open = not final
        is_text = kind == TEXT or (kind == CONTINUATION and self._in_text)
        if not is_text or len(self._text) + size > MAX_READ:
            self._over = start + size
            if is_text:
                self._in_text = False
                self._text.clear()
            return True
        if len(buffer) < start + size:
            return False
        self._text += buffer[start : start + size]
        del buffer[: start + size]
        self._in_text = not final
        if final:
            found.append(bytes(self._text))
            self._text.clear()
        return True


def unmasked(data: bytes, mask: bytes) -> bytes:
    """`data` unmasked, or masked: the operation is its own inverse (RFC 6455 §5.3)."""
    size = len(data)
    if size > _STEP:  # other threads get the interpreter lock between two steps
        return b"".join([unmasked(data[at : at + _STEP], mask) for at in range(0, size, _STEP)])
    stretched = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(stretched)).to_bytes(size)


def client_frame(kind: int, data: bytes) -> bytes:
    """A client's message in one masked frame."""
    mask = os.urandom(4)
    return _head(kind, len(data), 0x80) + mask + unmasked(data, mask)


def server_frame(kind: int, data: bytes) -> bytes:
    """A server's message in one frame."""
    return _head(kind, len(data), 0) + data


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame."""
    return server_frame(CLOSE, code.to_bytes(2) + reason.encode()[:120])


def _head(kind: int, size: int, masked: int) -> bytes:
    first = bytes((0x80 | kind,))
    if size < 126:
        return first + bytes((masked | size,))
    if size < 1 << 16:
        return first + bytes((masked | 126,)) + size.to_bytes(2)
    return first + bytes((masked | 127,)) + size.to_bytes(8)
