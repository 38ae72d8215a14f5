"""Removes secrets from the text fields of a multipart upload (the `prompt` of a transcription or image edit).

Files are not touched, nor is any byte of a form without secrets. A field with a secret keeps its length, because
Content-Length was sent before the field is seen: the mark, which is shorter than the secret, is padded with spaces at
the field's end.
"""

from collections.abc import Callable

from openai_proxy.pipeline.form_parts import MODEL, Chunk, Part, ambiguous
from openai_proxy.secrets import MARK

HELD = 256 * 1024
"""Bytes of one field that are examined together."""
OVERLAP = 4096
"""Bytes of a longer field that are examined again with what follows: longer than any key."""

_SHORT = "***"


class TextFields:
    """Cleans text fields by `clean`. See form_parts.FormStep."""

    def __init__(self, boundary: bytes, clean: Callable[[str], str]) -> None:
        self._delimiter = b"--" + boundary
        self._clean = clean
        self._held = b""  # the beginning of a text field
        self._part: Part | None = None  # which that is
        self._changed = False  # by us

    def take(self, chunks: list[Chunk], *, last: bool) -> list[Chunk]:
        """Raises BadRequest if a field without its secret could be read as several."""
        out: list[Chunk] = []
        for chunk in chunks:
            self._take(chunk, out)
        if last and self._held:
            out.append(Chunk(self._cleaned(self._held), self._part))
            self._held = b""
        return out

    def _take(self, chunk: Chunk, out: list[Chunk]) -> None:
        part = chunk.part
        if part is None or part.file or part.name is None or part.name == MODEL:
            out.append(chunk)
            return
        self._held += chunk.data
        self._part = part
        if chunk.last:
            out.append(Chunk(self._cleaned(self._held), part, last=True))
            self._held = b""
            self._changed = False
        elif len(self._held) > HELD:
            cleaned = self._cleaned(self._held)
            out.append(Chunk(cleaned[:-OVERLAP], part))
            self._held = cleaned[-OVERLAP:]

    def _cleaned(self, data: bytes) -> bytes:
        text = data.decode("utf-8", "surrogateescape")
        clean = self._clean(text)
        if clean != text:
            self._changed = True
            new = clean.encode("utf-8", "surrogateescape")
            if len(new) > len(data):  # a secret shorter than the mark
                new = clean.replace(MARK, _SHORT).encode("utf-8", "surrogateescape")
            data = new + b" " * (len(data) - len(new))
        if self._changed and self._delimiter in data:  # perhaps only since the mark: a boundary may be `[REDACTED]`
            raise ambiguous("its boundary is in a field with a secret")
        return data
