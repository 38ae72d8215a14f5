"""Removes secrets from the text fields of a multipart upload (the `prompt` of a transcription or image edit).

Files are not touched, nor is any byte of a form without secrets. A field with a secret keeps its length, because
Content-Length was sent before the field is seen: the mark, which is shorter than the secret, is padded with spaces at
the field's end.
"""

from collections.abc import AsyncIterator, Callable

from openai_proxy.pipeline.form_parts import MODEL, Chunk, FormSplitter
from openai_proxy.secrets import MARK

HELD = 256 * 1024
"""Bytes of one field that are examined together."""
OVERLAP = 4096
"""Bytes of a longer field that are examined again with what follows: longer than any key."""

_SHORT = "***"


class TextFields:
    """Takes the body in pieces and returns it in pieces, with text fields cleaned by `clean`."""

    def __init__(self, boundary: bytes, clean: Callable[[str], str]) -> None:
        self._splitter = FormSplitter(boundary)
        self._clean = clean
        self._held = b""  # the beginning of a text field

    async def through(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The whole body. Raises BadRequest if it is ambiguous."""
        async for piece in pieces:
            if data := self.feed(piece):
                yield data
        if rest := self.rest():
            yield rest

    def feed(self, piece: bytes) -> bytes:
        """The part of the body that can be passed on after `piece`."""
        out: list[bytes] = []
        for chunk in self._splitter.feed(piece):
            self._take(chunk, out)
        return b"".join(out)

    def rest(self) -> bytes:
        """What is still held at the body's end, which came too early if that is much."""
        out: list[bytes] = []
        for chunk in self._splitter.rest():
            self._take(chunk, out)
        out.append(self._cleaned(self._held))
        self._held = b""
        return b"".join(out)

    def _take(self, chunk: Chunk, out: list[bytes]) -> None:
        part = chunk.part
        if part is None or part.file or part.name is None or part.name == MODEL:
            out.append(chunk.data)
            return
        self._held += chunk.data
        if chunk.last:
            out.append(self._cleaned(self._held))
            self._held = b""
        elif len(self._held) > HELD:
            cleaned = self._cleaned(self._held)
            out.append(cleaned[:-OVERLAP])
            self._held = cleaned[-OVERLAP:]

    def _cleaned(self, data: bytes) -> bytes:
        text = data.decode("utf-8", "surrogateescape")
        clean = self._clean(text)
        if clean == text:
            return data
        new = clean.encode("utf-8", "surrogateescape")
        if len(new) > len(data):  # a secret shorter than the mark
            new = clean.replace(MARK, _SHORT).encode("utf-8", "surrogateescape")
        return new + b" " * (len(data) - len(new))
