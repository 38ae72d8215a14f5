"""Searches, copies and joins large texts in small steps.

A call into C holds the interpreter lock until it returns, and a loop in compiled code (`openai_proxy.compiled`) never
releases it, so a thread doing either with a hundred megabytes blocks the event loop. Between two steps of these
functions the lock can change hands; therefore this module is never compiled. `bytes.join` releases the lock itself.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, TypeVar

STEP: Final = 1 << 20
"""Bytes or characters per step: copying or searching them takes a millisecond."""

Text = TypeVar("Text", str, bytes)
Value = TypeVar("Value")


def pieces(text: Text, start: int = 0, end: int | None = None, *, step: int = STEP) -> Iterator[Text]:
    """`text[start:end]` in pieces of `step`."""
    stop = len(text) if end is None else end
    for at in range(start, stop, step):
        yield text[at : min(at + step, stop)]


def find(text: Text, part: Text, start: int = 0, end: int | None = None) -> int:
    """`text.find(part, start, end)`."""
    stop = len(text) if end is None else end
    if stop - start <= STEP:
        return text.find(part, start, stop)
    for at in range(start, stop, STEP):
        found = text.find(part, at, min(at + STEP + len(part), stop))
        if found >= 0:
            return found
    return -1


def finditer(pattern: re.Pattern[Text], text: Text, start: int, end: int, overlap: int) -> Iterator[re.Match[Text]]:
    """`pattern.finditer(text, start, end)` for a pattern that at most `overlap` characters identify.

    A longer match is cut at the end of a step, where the next one starts.
    """
    at = start
    while at < end:
        upto = min(at + STEP, end)
        for match in pattern.finditer(text, at, min(upto + overlap, end)):
            if match.start() >= upto:
                break
            yield match
            upto = max(upto, match.end())
        at = upto


def any_piece(look: Callable[[bytes], bool], data: bytes, overlap: int, start: int = 0) -> bool:
    """True if `look` is true for a piece of `data[start:]`, extended by the first `overlap` bytes of the next one."""
    return any(look(data[at : at + STEP + overlap]) for at in range(start, len(data), STEP))


def blank(text: str, start: int = 0, end: int | None = None, signs: str | None = None) -> bool:
    """True if `text[start:end]` consists of `signs`, by default whitespace."""
    return not any(piece.strip(signs) for piece in pieces(text, start, end))


def part(text: Text, start: int, end: int) -> Text:
    """`text[start:end]`: a slice would copy everything at once."""
    if end - start <= STEP:
        return text[start:end]
    return b"".join(list(pieces(text, start, end))) if isinstance(text, bytes) else join(pieces(text, start, end))


def strip(text: str) -> str:
    """`text.strip()`."""
    if len(text) <= STEP:
        return text.strip()
    start, end = 0, len(text)
    while start < end and not (stripped := text[start : start + STEP].lstrip()):
        start += STEP
    if start >= end:
        return ""
    start += len(text[start : start + STEP]) - len(stripped)
    while not (stripped := text[max(end - STEP, start) : end].rstrip()):
        end -= STEP
    end = max(end - STEP, start) + len(stripped)
    return text if end - start == len(text) else part(text, start, end)


def join(parts: Iterable[str], between: str = "") -> str:
    """`between.join(parts)`."""
    texts = list(parts)
    if len(texts) == 1:
        return texts[0]
    size = sum(map(len, texts)) + len(between) * max(len(texts) - 1, 0)
    if size <= STEP:
        return between.join(texts)
    if between:
        texts = [text for one in texts for text in (between, one)][1:]
    return _copied(_gathered(texts), size)


def _gathered(texts: Iterable[str]) -> list[str]:
    """`texts` in pieces that are worth a step, and no longer than one."""
    found: list[str] = []
    waiting: list[str] = []
    size = 0
    for text in texts:
        for piece in pieces(text) if len(text) > STEP else (text,):
            if size + len(piece) > STEP:
                found.append("".join(waiting))
                waiting.clear()
                size = 0
            waiting.append(piece)
            size += len(piece)
    found.append("".join(waiting))
    return found


def _copied(texts: list[str], size: int) -> str:
    """`texts`, which have `size` characters together, copied into one, piece by piece.

    Nothing in Python can do that: `str.join` copies all at once, and `+=` copies what is there so far whenever its
    memory must move, or a character needs more bytes than those before it (0.2 s for 100 MB). The C API can:
    https://docs.python.org/3/c-api/unicode.html#c.PyUnicode_CopyCharacters. It requires that nothing else
    refers to the string, hence the plain pointers.
    """
    import ctypes  # 1 MB, which only large requests need

    api = ctypes.pythonapi
    new, copy = api.PyUnicode_New, api.PyUnicode_CopyCharacters
    new.restype, new.argtypes = ctypes.c_void_p, (ctypes.c_ssize_t, ctypes.c_uint32)
    copy.restype = ctypes.c_ssize_t
    copy.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.py_object, ctypes.c_ssize_t, ctypes.c_ssize_t)
    release = api.Py_DecRef
    release.restype, release.argtypes = None, (ctypes.c_void_p,)
    made = new(size, _widest(texts))
    try:
        at = 0
        for text in texts:
            at += copy(made, at, text, 0, len(text))
        return str(ctypes.cast(made, ctypes.py_object).value)
    finally:
        release(made)


def _widest(texts: list[str]) -> int:
    """The largest character that needs as many bytes as the largest one in `texts`."""
    widest = 0x7F
    for text in texts:
        if text.isascii():
            continue
        if widest <= 0xFF:
            try:
                text.encode("latin-1")
                widest = 0xFF
                continue
            except UnicodeEncodeError:
                widest = 0xFFFF
        if len(text.encode("utf-16-le", "surrogatepass")) > 2 * len(text):
            return 0x10FFFF
    return widest


class Hash(Protocol):
    """A hash of `hashlib`."""

    def update(self, data: bytes, /) -> object:
        """Add `data`. Releases the lock itself."""


def add_text(digest: Hash, text: str, errors: str = "surrogatepass") -> None:
    """Add `text` to `digest`, as UTF-8."""
    for piece in pieces(text):
        digest.update(piece.encode("utf-8", errors))


def in_turns(values: Iterable[Value]) -> Iterator[Value]:
    """`values`, for a loop in compiled code: the interpreter runs between two of them, and may pass on the lock."""
    for value in values:  # noqa: UP028 (`yield from` would not run the interpreter)
        yield value


def encode(text: str) -> bytes:
    """`text` as UTF-8, including lone surrogates."""
    if len(text) <= STEP:
        return text.encode("utf-8", "surrogatepass")
    return b"".join([piece.encode("utf-8", "surrogatepass") for piece in pieces(text)])


def decode(data: bytes, errors: str = "surrogatepass") -> str:
    """The inverse of `encode`. Raises UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    return join([*(decoder.decode(piece) for piece in pieces(data)), decoder.decode(b"", final=True)])
