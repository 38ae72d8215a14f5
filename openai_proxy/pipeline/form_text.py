"""Secrets out of the text fields of a multipart upload (the `prompt` of a transcription, of an image edit).

Files stream by untouched, and so does every byte of a form that holds no secret. Where a field does hold one, the
field keeps its length: Content-Length has gone up before the field is seen. What the mark is shorter than the secret
is made up with spaces at the field's end.
"""

import re
from collections.abc import AsyncIterator, Callable

from openai_proxy.pipeline.multipart import MAX_PART_HEAD
from openai_proxy.secrets import MARK

HELD = 256 * 1024
"""Bytes of one field that are looked at together."""
OVERLAP = 4096
"""Bytes of a longer field that are looked at again with what follows: longer than any key."""

_FIELD = re.compile(rb"content-disposition:[^\r\n]*;\s*name=", re.IGNORECASE)
_NOT_TEXT = re.compile(rb'filename\*?=|;\s*name="?model"?\s*(?:;|\r)', re.IGNORECASE)
_SHORT = "***"


class TextFields:
    """Takes the body in pieces and gives it back in pieces, text fields cleaned by `clean`."""

    def __init__(self, boundary: bytes, clean: Callable[[str], str]) -> None:
        self._delimiter = b"--" + boundary
        self._clean = clean
        self._buffer = b""
        self._in_head = False
        self._is_text = False
        self._over = False  # behind the last delimiter, or no form at all

    async def through(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The whole body."""
        async for piece in pieces:
            if data := self.feed(piece):
                yield data
        if rest := self.rest():
            yield rest

    def rest(self) -> bytes:
        """What is still held at the body's end, which came too early."""
        held, self._buffer = self._buffer, b""
        return self._cleaned(held) if self._is_text and not self._in_head else held

    def feed(self, piece: bytes) -> bytes:
        """What of the body can go on, now that `piece` has come."""
        self._buffer += piece
        out: list[bytes] = []
        while not self._over and (self._head(out) if self._in_head else self._content(out)):
            pass
        if self._over:
            out.append(self._buffer)
            self._buffer = b""
        return b"".join(out)

    def _head(self, out: list[bytes]) -> bool:
        after = len(self._delimiter)
        if self._buffer.startswith(b"--", after):
            self._over = True
            return False
        end = self._buffer.find(b"\r\n\r\n", after)
        if end < 0:
            self._over = len(self._buffer) > MAX_PART_HEAD
            return False
        head = self._take(end + 2, out)
        self._in_head = False
        self._is_text = _FIELD.search(head) is not None and _NOT_TEXT.search(head) is None
        return True

    def _content(self, out: list[bytes]) -> bool:
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            if self._is_text:
                self._buffer = self._cleaned(self._buffer[:at]) + self._buffer[at:]
            self._take(at, out)
            self._in_head = True
            return True
        keep = len(self._delimiter) - 1
        if self._is_text:
            if len(self._buffer) <= HELD:
                return False
            self._buffer = self._cleaned(self._buffer)
            keep = OVERLAP
        self._take(max(len(self._buffer) - keep, 0), out)
        return False

    def _take(self, count: int, out: list[bytes]) -> bytes:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        out.append(taken)
        return taken

    def _cleaned(self, data: bytes) -> bytes:
        text = data.decode("utf-8", "surrogateescape")
        clean = self._clean(text)
        if clean == text:
            return data
        new = clean.encode("utf-8", "surrogateescape")
        if len(new) > len(data):  # a secret shorter than the mark
            new = clean.replace(MARK, _SHORT).encode("utf-8", "surrogateescape")
        value = new.removesuffix(b"\r\n")
        return value + b" " * (len(data) - len(new)) + new[len(value) :]
