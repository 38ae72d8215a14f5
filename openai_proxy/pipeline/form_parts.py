"""Splits multipart bodies (RFC 7578, RFC 2046 §5.1) as they stream by, so strictly that only one reading is possible.

Servers read forms very differently: some accept a boundary anywhere in a line, decode quoted-printable parts, join
folded lines, or search for `name=` with a pattern. Whatever one of them could read differently from us is refused;
otherwise it could see a model that we did not check, or a secret that we did not find. Real clients' forms pass.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote

from openai_proxy.errors import BadRequest

MAX_PART_HEAD: Final = 16 * 1024
MODEL: Final = "model"

_PARAMETER: Final = re.compile(
    r"[ \t]*;[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(\"(?:[^\"\\]|\\.)*+\"|[^\s;\",]*))?"
)
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)")
_BROKEN: Final = re.compile(rb"[\r\n\0]")
_NAIVE_MODEL: Final = re.compile(
    rb"(?i)(?<![\w*])name[ \t]{0,64}=[ \t]{0,64}[\"']?model[\"']?[ \t]{0,64}(?:[;\"]|\r?$)", re.MULTILINE
)
_MOST_ODD: Final = 100
_NAIVE_LENGTH: Final = 256  # maximum bytes of such a match
_IDENTITY: Final = frozenset({"7bit", "8bit", "binary"})
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class Part(NamedTuple):
    """The head of one part: its name, and whether it is a file."""

    name: str | None
    file: bool


class Chunk(NamedTuple):
    """Bytes of the body, unchanged. `part` is None for what is not content; `last`: the part ends with them."""

    data: bytes
    part: Part | None = None
    last: bool = False


def ambiguous(what: str) -> BadRequest:
    """The error for a body that has more than one reading."""
    return BadRequest(f"The multipart body can be read in more than one way: {what}.", code="invalid_multipart")


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart content type. Raises BadRequest."""
    _, semicolon, rest = content_type.partition(";")
    parameters = _parameters(semicolon + rest)
    if parameters is None:
        raise ambiguous("its content type is malformed")
    names = [name for name, _ in parameters]
    if names.count("boundary") > 1 or any(name.startswith("boundary*") for name in names):
        raise ambiguous("it has several boundaries")
    found = dict(parameters)
    boundary = found.get("boundary")
    if not boundary:
        raise BadRequest("The multipart body has no boundary.", code="invalid_multipart")
    if len(boundary) > 200 or not boundary.isascii() or not boundary.isprintable() or "\\" in boundary:
        raise ambiguous("its boundary has characters that servers read differently")
    if found.get("charset", "utf-8").lower() not in _UTF8:
        raise ambiguous("its character set is not UTF-8")
    return boundary.encode("ascii")


def read_head(head: bytes) -> Part:
    """The head of a part, without its last line end. Raises BadRequest if servers could read it differently."""
    fields: dict[str, str] = {}
    for line in head.split(b"\r\n") if head else ():
        match = _FIELD.fullmatch(line.decode("latin-1")) if _BROKEN.search(line) is None else None
        if match is None or (name := match[1].lower()) in fields:
            raise ambiguous("the head of a part is malformed")
        fields[name] = match[2].strip(" \t")
    if fields.get("content-transfer-encoding", "8bit").lower() not in _IDENTITY:
        raise ambiguous("a part is encoded")
    kind, semicolon, rest = fields.get("content-type", "").partition(";")
    if kind.strip().lower().startswith("multipart/"):
        raise ambiguous("a part has parts of its own")
    name, file = _named(fields.get("content-disposition"))
    if not file and semicolon:
        typed = _parameters(semicolon + rest)
        if typed is None or dict(typed).get("charset", "utf-8").lower() not in _UTF8:
            raise ambiguous("the character set of a part is not UTF-8")
    if name != MODEL and (_looks_like_model(name) or _NAIVE_MODEL.search(head)):
        raise ambiguous("the model's name")
    return Part(name, file)


def _named(disposition: str | None) -> tuple[str | None, bool]:
    if disposition is None:
        return None, False
    kind, semicolon, rest = disposition.partition(";")
    parameters = _parameters(semicolon + rest)
    if parameters is None or not kind.strip():
        raise ambiguous("the name of a part is malformed")
    names = [value for key, value in parameters if key == "name"]
    if len(names) > 1 or any(key.startswith("name*") for key, _ in parameters):
        raise ambiguous("a part has several names")
    if names and ("\\" in names[0] or "\0" in names[0]):
        raise ambiguous("the name of a part contains a backslash")
    return (names[0] if names else None), any(key in ("filename", "filename*") for key, _ in parameters)


def _looks_like_model(name: str | None) -> bool:
    """True for a name that lenient servers treat as `model`: `Model`, ` model`, `%6dodel`, `model[]`."""
    if name is None:
        return False
    plain = unquote(name).strip().casefold()
    return plain == MODEL or plain.startswith(f"{MODEL}[")


def _parameters(text: str) -> list[tuple[str, str]] | None:
    """The parameters of a header value, from the first semicolon on, with lower-case names; None if malformed."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None or match.end() == position:
            return None if text[position:].strip(" \t") else found
        position = match.end()
        if match[1] is not None:
            value = match[2]
            found.append((match[1].lower(), value[1:-1] if value.startswith('"') else value))
    return found


class FormSplitter:
    """Cuts a multipart body into chunks that, joined, are the body. Examines each byte about once.

    Raises BadRequest if there is more than one reading.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"--" + boundary
        self._buffer = b""
        self._before = b"\r\n"  # the two bytes before the buffer: the body's beginning counts as the start of a line
        self._part: Part | None = None
        self._in_head = False
        self._doubtful = 0  # bytes that some server could still treat as the head of a part
        self._seen = b""  # the last of them
        self._odd = 0  # boundaries seen where no part ends
        self.complete = False
        """True after the last delimiter."""

    def feed(self, piece: bytes) -> list[Chunk]:
        """The chunks completed by `piece`."""
        data = self._buffer + piece if self._buffer else piece
        chunks: list[Chunk] = []
        position, going = 0, True
        while going:
            position, going = (self._head if self._in_head else self._content)(data, position, chunks)
        self._before = (self._before + data[:position])[-2:]
        self._buffer = data[position:]
        return chunks

    def rest(self) -> list[Chunk]:
        """What is still held at the body's end; it is only whole if `complete`."""
        held, self._buffer = self._buffer, b""
        return [Chunk(held, self._part)] if held else []

    def _content(self, data: bytes, position: int, chunks: list[Chunk]) -> tuple[int, bool]:
        """Pass on content up to the next delimiter; returns where that ends, and whether to continue."""
        delimiter = self._delimiter
        at = data.find(delimiter, position)
        after = at + len(delimiter)
        if at < 0 or len(data) < after + 2:
            # A line end may belong to an incomplete delimiter.
            stop = max(position, (len(data) - len(delimiter) + 1 if at < 0 else at) - 2)
            self._pass(data[position:stop], chunks)
            return stop, False
        ending = data[after : after + 2]
        line_begins = (self._before + data[max(at - 2, 0) : at])[-2:] == b"\r\n"
        if not line_begins or ending not in (b"\r\n", b"--"):
            self._pass(data[position:after], chunks)
            self._doubtful = MAX_PART_HEAD
            self._odd += 1
            if self._odd > _MOST_ODD:
                raise ambiguous("its boundary occurs in many places where no part ends")
            return after, True
        if self.complete:
            raise ambiguous("it continues after its end")
        end = max(position, at - 2)  # an empty part ends with the line end of its head
        self._pass(data[position:end], chunks, last=True)
        self._doubtful, self._seen = 0, b""
        chunks.append(Chunk(data[end : after + 2]))
        self._part = None
        self.complete = ending == b"--"
        self._in_head = not self.complete
        return after + 2, True

    def _pass(self, content: bytes, chunks: list[Chunk], *, last: bool = False) -> None:
        """Pass on content, unless a server that accepts boundaries anywhere would find a model's name in it."""
        if self._doubtful:
            seen = self._seen + content[: self._doubtful]
            if _NAIVE_MODEL.search(seen) is not None:
                raise ambiguous("its boundary occurs where no part ends")
            self._seen = seen[-_NAIVE_LENGTH:]
            self._doubtful = max(self._doubtful - len(content), 0)
        last = last and self._part is not None
        if content or last:
            chunks.append(Chunk(content, self._part, last))

    def _head(self, data: bytes, position: int, chunks: list[Chunk]) -> tuple[int, bool]:
        """Read the head of a part once it is complete."""
        if data.startswith(b"\r\n", position):
            end = stop = position
            stop += 2
        elif (end := data.find(b"\r\n\r\n", position)) >= 0:
            stop = end + 4
        elif len(data) - position > MAX_PART_HEAD:
            raise BadRequest("A part of the multipart body has no end to its head.", code="invalid_multipart")
        else:
            return position, False
        self._part = read_head(data[position:end])
        chunks.append(Chunk(data[position:stop]))
        self._in_head = False
        return stop, True


class FormStep(Protocol):
    """Something that looks at the parts of a form, and may change them."""

    def take(self, chunks: list[Chunk], *, last: bool) -> list[Chunk]:
        """What to pass on for `chunks`; `last`: nothing follows. Raises ProxyError for a form that must not pass."""
        ...


class Form:
    """A multipart body as it streams by: split once, for all `steps` that look at its parts, in this order."""

    def __init__(self, boundary: bytes, pieces: AsyncIterator[bytes], steps: Sequence[FormStep] = ()) -> None:
        self._splitter = FormSplitter(boundary)
        self._pieces = pieces
        self._steps = steps

    @property
    def complete(self) -> bool:
        """True after the last delimiter."""
        return self._splitter.complete

    async def chunks(self) -> AsyncIterator[list[Chunk]]:
        """The body as the steps have left it. Raises ProxyError."""
        async for piece in self._pieces:
            if chunks := self._stepped(self._splitter.feed(piece), last=False):
                yield chunks
        if chunks := self._stepped(self._splitter.rest(), last=True):
            yield chunks

    def _stepped(self, chunks: list[Chunk], *, last: bool) -> list[Chunk]:
        for step in self._steps:
            chunks = step.take(chunks, last=last)
        return chunks
