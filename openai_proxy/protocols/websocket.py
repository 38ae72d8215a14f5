"""The frames a WebSocket client sends (RFC 6455 §5), cut into what passes and what is looked at. No I/O.

Text messages come out whole, without mask; everything else comes out in the bytes it came in. Extensions are not
understood: whoever forwards a handshake leaves `Sec-WebSocket-Extensions` out.
"""

import os
from dataclasses import dataclass
from typing import Final

MAX_MESSAGE: Final = 16 << 20
"""Bytes of one text message. OpenAI's Realtime API takes 15 MB."""

CONTINUATION: Final = 0
TEXT: Final = 1
CLOSE: Final = 8

PROTOCOL_ERROR: Final = 1002
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009


class WebSocketError(Exception):
    """The client broke the protocol; `code` is the status of the close frame it is sent."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TextMessage:
    """One whole text message: `data` is its text, `raw` the frames it came in."""

    data: bytes
    raw: bytes


class ClientFrames:
    """Cuts what a client sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._passing = 0  # bytes of a frame that pass as they come
        self._text = bytearray()  # the text message so far, where one is open
        self._raw = bytearray()
        self._in_text = False

    def feed(self, data: bytes) -> list[bytes | TextMessage]:
        """What `data` completes: bytes to pass on, and text messages. Raises WebSocketError."""
        self._buffer += data
        found: list[bytes | TextMessage] = []
        while self._buffer:
            if self._passing:
                piece = bytes(self._buffer[: self._passing])
                del self._buffer[: len(piece)]
                self._passing -= len(piece)
                found.append(piece)
            elif not self._frame(found):
                break
        return found

    def _frame(self, found: list[bytes | TextMessage]) -> bool:
        """Take the frame at the head of the buffer; False if more of it must come first."""
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
        if not (kind == TEXT or (kind == CONTINUATION and self._in_text)):
            self._passing = start + size
            return True
        if len(self._text) + size > MAX_MESSAGE:
            raise WebSocketError(MESSAGE_TOO_BIG, "The message is too large.")
        if len(buffer) < start + size:
            return False
        self._text += unmasked(bytes(buffer[start : start + size]), bytes(buffer[start - 4 : start]))
        self._raw += buffer[: start + size]
        del buffer[: start + size]
        self._in_text = not final
        if final:
            found.append(TextMessage(bytes(self._text), bytes(self._raw)))
            self._text.clear()
            self._raw.clear()
        return True


def unmasked(data: bytes, mask: bytes) -> bytes:
    """`data` without its mask, or with it: the operation is its own inverse (RFC 6455 §5.3)."""
    size = len(data)
    stretched = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(stretched)).to_bytes(size)


def text_frame(data: bytes) -> bytes:
    """A client's text message in one masked frame."""
    mask = os.urandom(4)
    return _head(TEXT, len(data), 0x80) + mask + unmasked(data, mask)


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame."""
    data = code.to_bytes(2) + reason.encode()[:120]
    return _head(CLOSE, len(data), 0) + data


def _head(kind: int, size: int, masked: int) -> bytes:
    first = bytes((0x80 | kind,))
    if size < 126:
        return first + bytes((masked | size,))
    if size < 1 << 16:
        return first + bytes((masked | 126,)) + size.to_bytes(2)
    return first + bytes((masked | 127,)) + size.to_bytes(8)
