"""Finding, and if need be changing, the `model` field of a multipart upload (RFC 7578) as it streams by.

Clients put `model` before or after the file. Until it is found nothing can be sent, so what has come is kept: in
memory up to 1 MiB, then in a file only we can read. After that the rest streams through, but is still looked at: of
two `model` fields providers take the last and we saw the first, so a second one breaks the upload off.
"""

import re
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from openai_proxy.errors import BadRequest

IN_MEMORY = 1024 * 1024
MAX_PART_HEAD = 16 * 1024
MAX_FIELD = 4096
_NAME = re.compile(rb'content-disposition:[^\r\n]*?;\s*name="?model"?\s*(?:;|\r|$)', re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)
_PIECE = 256 * 1024


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart content type. Raises BadRequest."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise BadRequest("The multipart body has no boundary.", code="invalid_multipart")
    return (match[1] or match[2]).encode("latin-1")


class ModelField:
    """Reads a multipart body until its `model` field is known; then replays what was kept and streams the rest."""

    def __init__(self, boundary: bytes, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._store: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed in close()
        self._scan = _Scan(b"--" + boundary)
        self._value: tuple[int, int] | None = None  # where the field's value stands
        self.model: str | None = None

    async def find(self) -> str | None:
        """Read on until the model is known, or to the end. Returns it, or None.

        Raises BadRequest for a body that has it twice, without an end, or not in UTF-8.
        """
        async for piece in self._pieces:
            self._store.write(piece)
            for start, value in self._found(piece):
                self._value = (start, start + len(value))
                try:
                    self.model = value.decode()
                except UnicodeDecodeError:
                    raise BadRequest("The model's name is not UTF-8.", code="invalid_multipart") from None
                return self.model
        return None

    def _found(self, piece: bytes) -> list[tuple[int, bytes]]:
        fields = self._scan.feed(piece)
        if len(fields) > 1 or (fields and self._value is not None):
            raise BadRequest("The upload names its model more than once.", code="invalid_multipart")
        return fields

    def growth(self, replacement: str | None) -> int:
        """How many bytes longer the body gets with `replacement` for the model (None: as it is)."""
        if replacement is None or self._value is None:
            return 0
        return len(replacement.encode()) - (self._value[1] - self._value[0])

    async def replay(self, replacement: str | None) -> AsyncIterator[bytes]:
        """The whole body, with `replacement` for the model if given. Raises BadRequest at a second model field."""
        self._store.seek(0)
        if replacement is not None and self._value is not None:
            start, stop = self._value
            left = start
            while left:
                piece = self._store.read(min(left, _PIECE))
                left -= len(piece)
                yield piece
            yield replacement.encode()
            self._store.seek(stop)
        while piece := self._store.read(_PIECE):
            yield piece
        self.close()
        async for piece in self._pieces:
            self._found(piece)
            yield piece

    def close(self) -> None:
        """Let go of what was kept."""
        self._store.close()


class _Scan:
    """Finds the model fields' values in a multipart body fed in pieces; looks at each byte about once."""

    def __init__(self, delimiter: bytes) -> None:
        self._delimiter = delimiter
        self._buffer = b""
        self._offset = 0  # of the buffer's first byte in the body

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        """Position and bytes of each value both of whose ends have come with this piece."""
        self._buffer += piece
        found: list[tuple[int, bytes]] = []
        while True:
            at = self._buffer.find(self._delimiter)
            if at < 0:
                self._forget(len(self._buffer) - len(self._delimiter) - 2)
                return found
            after = at + len(self._delimiter)
            if self._buffer.startswith(b"--", after):  # the last delimiter; what may follow belongs to nobody
                self._forget(after)
                continue
            head_end = self._buffer.find(b"\r\n\r\n", at)
            if head_end < 0:
                if len(self._buffer) - at > MAX_PART_HEAD:
                    raise BadRequest("A part of the multipart body has no end to its head.", code="invalid_multipart")
                self._forget(at)
                return found
            start = head_end + 4
            if _NAME.search(self._buffer, at, head_end + 2) is None:
                self._forget(start - 2)  # the next delimiter may follow an empty part at once
                continue
            stop = self._buffer.find(b"\r\n" + self._delimiter, start - 2)
            if stop >= 0:
                found.append((self._offset + start, self._buffer[start:stop]))
                self._forget(stop)
                continue
            if len(self._buffer) - start > MAX_FIELD:
                raise BadRequest("The model's name is too long.", code="invalid_multipart")
            self._forget(at)
            return found

    def _forget(self, count: int) -> None:
        if count > 0:
            self._buffer = self._buffer[count:]
            self._offset += count
