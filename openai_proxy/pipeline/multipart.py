"""Finds, and if necessary changes, the `model` field of a multipart upload as it streams by.

Clients put `model` before or after the file. Nothing can be sent until it is found, so everything is buffered: in
memory up to 1 MiB, then in a file that only we can read. After that the rest streams through, but is still checked: of
two `model` fields providers use the last and we the first, so a second one aborts the upload.
"""

import tempfile
from collections.abc import AsyncIterator
from typing import IO

from openai_proxy.errors import BadRequest
from openai_proxy.pipeline.form_parts import MODEL, Chunk, Form

IN_MEMORY = 1024 * 1024
MAX_FIELD = 4096
_PIECE = 256 * 1024


class ModelField:
    """Reads a multipart body until its `model` field is known; then replays the buffer and streams the rest."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._chunks = form.chunks()
        self._store: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed in close()
        self._passed = 0  # bytes of the body in the chunks so far
        self._field = b""  # of a model field whose end has not come
        self._value: tuple[int, int] | None = None  # the position of the field's value
        self.model: str | None = None

    async def find(self) -> str | None:
        """Read until the model is known, or to the end. Returns it, or None.

        Raises BadRequest for a body that has it twice or not in UTF-8, that ends too early, or is ambiguous.
        """
        async for chunks in self._chunks:
            self._store.write(self._looked_at(chunks))
            if self.model is not None:
                return self.model
        self._check_end()
        return None

    def _looked_at(self, chunks: list[Chunk]) -> bytes:
        for chunk in chunks:
            if chunk.part is not None and chunk.part.name == MODEL:
                self._model(chunk)
            self._passed += len(chunk.data)
        return b"".join([chunk.data for chunk in chunks])

    def _model(self, chunk: Chunk) -> None:
        self._field += chunk.data
        if len(self._field) > MAX_FIELD:
            raise BadRequest("The model's name is too long.", code="invalid_multipart")
        if not chunk.last:
            return
        if self._value is not None:
            raise BadRequest("The upload names its model more than once.", code="invalid_multipart")
        end = self._passed + len(chunk.data)
        self._value = (end - len(self._field), end)
        try:
            self.model = self._field.decode()
        except UnicodeDecodeError:
            raise BadRequest("The model's name is not UTF-8.", code="invalid_multipart") from None
        self._field = b""

    def _check_end(self) -> None:
        if not self._form.complete:
            raise BadRequest("The multipart body ends too early.", code="invalid_multipart")

    def growth(self, replacement: str | None) -> int:
        """How many bytes longer the body gets with `replacement` for the model (None: as it is)."""
        if replacement is None or self._value is None:
            return 0
        return len(replacement.encode()) - (self._value[1] - self._value[0])

    async def replay(self, replacement: str | None) -> AsyncIterator[bytes]:
        """The whole body, with `replacement` for the model if given. Raises BadRequest where `find` would have."""
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
        async for chunks in self._chunks:
            if piece := self._looked_at(chunks):
                yield piece
        self._check_end()

    def close(self) -> None:
        """Release the buffer."""
        self._store.close()
