"""Checks files for a provider's batch API: they must not name an augmented model, which no provider knows.

The file has one JSON object per line, the request in `body` (https://platform.openai.com/docs/api-reference/batch); it
is checked while it streams by, in a multipart upload with `purpose` `batch`, before or after the file.
"""

from collections.abc import Collection
from typing import Final

import orjson

from openai_proxy.decision.decide import not_in_batches
from openai_proxy.errors import BadRequest
from openai_proxy.pipeline.form_parts import Chunk

MAX_LINE: Final = 16 * 1024 * 1024  # bytes of one request
_MAX_PURPOSE: Final = 64


class BatchFile:
    """Checks an upload. `names`: the augmented models. See form_parts.FormStep."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._line: list[bytes] = []
        self._length = 0
        self._purpose = b""
        self._named: str | None = None  # the first augmented model found in the file
        self._unread = False  # a line was too long to be checked

    def take(self, chunks: list[Chunk], *, last: bool) -> list[Chunk]:
        """`chunks`, unchanged. Raises BadRequest once it turns out to be a batch that names an augmented model."""
        for chunk in chunks:
            if chunk.part is not None:
                self._look(chunk)
        self._judge()
        return chunks

    def _look(self, chunk: Chunk) -> None:
        assert chunk.part is not None
        if chunk.part.file:
            self._content(chunk.data, last=chunk.last)
        elif chunk.part.name == "purpose" and len(self._purpose) <= _MAX_PURPOSE:
            self._purpose += chunk.data

    def _content(self, data: bytes, *, last: bool) -> None:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            self._request()
        self._add(rest)
        if last:
            self._request()

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > MAX_LINE:
            self._unread = True
            self._line.clear()
        else:
            self._line.append(piece)

    def _request(self) -> None:
        line = b"".join(self._line)
        self._line.clear()
        self._length = 0
        if self._named is not None or not line.strip():
            return
        try:
            request = orjson.loads(line)
        except ValueError:
            return  # the provider will report what is wrong with it
        body = request.get("body") if isinstance(request, dict) else None
        model = body.get("model") if isinstance(body, dict) else None
        if isinstance(model, str) and model in self._names:
            self._named = model

    def _judge(self) -> None:
        if self._purpose.strip() != b"batch":
            return
        if self._named is not None:
            raise not_in_batches(self._named)
        if self._unread:
            raise BadRequest("A request of the batch is too long to be read.", code="batch_line_too_long")
