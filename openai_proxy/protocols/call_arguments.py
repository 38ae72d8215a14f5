"""`(value, key=value, …)`: the one parser of handwritten arguments.

Templates in system prompts, commands in chat messages and the echo model's tool calls use it. They differ only in the
syntax of keys and values (a `Grammar`). Python's own parser does not fit: keys may contain dashes, and `true`, `\\/`
and unquoted values are not Python.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Reader = Callable[[str, int, int], tuple[Any, int] | None]
"""(text, position, limit) -> a value and where it ends, or None if there is none."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """The syntax of one kind of call's arguments."""

    key: re.Pattern[str]  # up to and including its "="; group 1 is the name
    value: Reader
    positional: bool = False  # values without a key are allowed; a None among them is an empty place
    space: re.Pattern[str] = re.compile(r"[ \t\r\n]*")


def read_arguments(
    grammar: Grammar, text: str, position: int, limit: int
) -> tuple[list[tuple[str | None, Any]], int | None]:
    """The (key, value) pairs after the opening bracket, and the position after the closing one.

    The position is None if the call has no proper end; the pairs are then those before the error.
    """
    pairs: list[tuple[str | None, Any]] = []

    def skip(position: int) -> int:
        match = grammar.space.match(text, position, limit)
        return match.end() if match is not None else position

    position = skip(position)
    while not text.startswith(")", position, limit):
        key = grammar.key.match(text, position, limit)
        if key is None and not grammar.positional:
            return pairs, None
        read = grammar.value(text, skip(key.end() if key is not None else position), limit)
        if read is None:
            return pairs, None
        value, position = read[0], skip(read[1])
        comma = text.startswith(",", position, limit)
        if not comma and not text.startswith(")", position, limit):
            return pairs, None
        if key is not None or value is not None:
            pairs.append((key[1] if key is not None else None, value))
        if comma:
            position = skip(position + 1)
    return pairs, position + 1


_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,300})(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?(?![\w.])")
_WORD: Final = re.compile(r"(true|false|null)(?![\w.])")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
_CHUNK: Final = {'"': re.compile(r'[^"\\\x00-\x1f]*'), "'": re.compile(r"[^'\\\x00-\x1f]*")}
_CHUNK_OF_LINES: Final = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}
_HEX: Final = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES: Final = {'"': '"', "'": "'", "\\": "\\", "/": "/", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def json_like(text: str, position: int, limit: int) -> tuple[Any, int] | None:
    """A value as JSON writes it, or a string in single quotes.

    A string is one line; a backslash before a character without a JSON escape is literal.
    """
    if position >= limit:
        return None
    if text[position] in "\"'":
        return string(text, position, limit)
    if (word := _WORD.match(text, position, limit)) is not None:
        return _WORDS[word.group(1)], word.end()
    if (number := _NUMBER.match(text, position, limit)) is None:
        return None
    if number.group(1) is None and number.group(2) is None:
        value = int(number.group())
        # 64 bits: what JSON at the other end of a tool can always carry
        return (value, number.end()) if -(2**63) <= value < 2**64 else None
    real = float(number.group())
    return (real, number.end()) if math.isfinite(real) else None


def string(text: str, position: int, limit: int, *, lines: bool = False) -> tuple[str, int] | None:
    """The string that begins with the quote at `position`; with `lines` it may contain line breaks."""
    quote = text[position]
    plain = (_CHUNK_OF_LINES if lines else _CHUNK)[quote]
    pieces: list[str] = []
    position += 1
    while position < limit:
        match = plain.match(text, position, limit)
        if match is not None and match.end() > position:
            pieces.append(match.group())
            position = match.end()
            continue
        if text[position] == quote:
            return _whole("".join(pieces)), position + 1
        if text[position] != "\\" or position + 1 >= limit:
            return None  # a line end or a control character
        escape = text[position + 1]
        if escape in _ESCAPES:
            pieces.append(_ESCAPES[escape])
            position += 2
        elif escape == "u":
            if (digits := _HEX.match(text, position + 2, limit)) is None:
                return None
            pieces.append(chr(int(digits.group(), 16)))
            position += 6
        else:
            pieces.append("\\")
            position += 1
    return None


def _whole(text: str) -> str:
    """`text` with pairs of \\uXXXX surrogates combined, and lone ones as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_BARE: Final = re.compile(r"((?:[^\\,)]|\\.)*+)(?=[,)])", re.DOTALL)
_QUOTED: Final = {
    quote: re.compile(rf"{quote}((?:[^\\{quote}]|\\.)*+){quote}\s*(?=[,)])", re.DOTALL) for quote in ('"', "'")
}
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def words(text: str, position: int, limit: int) -> tuple[str | None, int] | None:
    """A value as people type it: text up to the next comma or bracket, or quoted; None for nothing at all.

    A backslash escapes any character.
    """
    quoted = _QUOTED.get(text[position : position + 1]) if position < limit else None
    match = (quoted or _BARE).match(text, position, limit)
    if match is None:
        return None
    value = _ESCAPED.sub(r"\1", match[1])
    return (value if quoted is not None else value.strip() or None), match.end()
