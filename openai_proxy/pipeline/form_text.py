"""Secrets out of the text fields of a multipart upload (the `prompt` of a transcription, of an image edit).

Files stream by untouched, and so does every byte of a form that holds no secret. Where a field does hold one, the
field keeps its length: Content-Length has gone up before the field is seen. What the mark is shorter than the secret
is made up with spaces at the field's end.
"""

from collections.abc import AsyncIterator, Callable

from openai_proxy.pipeline.form_parts import MODEL, Chunk, FormSplitter
from openai_proxy.secrets import MARK

HELD = 256 * 1024
"""Bytes of one field that are looked at together."""
OVERLAP = 4096
"""Bytes of a longer field that are looked at again with what follows: longer than any key."""

_SHORT = "***"


class TextFields:
    """Takes the body in pieces and gives it back in pieces, text fields cleaned by `clean`."""

    def __init__(self, boundary: bytes, clean: Callable[[str], str]) -> None:
        self._splitter = FormSplitter(boundary)
        self._clean = clean
        self._held = b""  # the beginning of a text field

    async def through(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The whole body. Raises BadRequest where it can be misread."""
        async for piece in pieces:
            if data := self.feed(piece):
                yield data
        if rest := self.rest():
            yield rest

    def feed(self, piece: bytes) -> bytes:
        """What of the body can go on, now that `piece` has come."""
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
