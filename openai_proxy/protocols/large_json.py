"""Parses and encodes large JSON without holding the interpreter lock for long: for a thread beside the event loop.

One call of a C parser for 100 MB holds the lock for seconds, in whatever thread, and nothing else in the process can
run. Here no single step handles more than WINDOW bytes, and between two steps other threads get the lock. That costs
about a microsecond per value, so it is used for bodies from json_members.LARGE bytes.

It accepts and refuses the same as `json_members.parse_object`, except that integers beyond 64 bits keep their digits,
which could not be checked cheaply afterwards; and a document may have at most MAX_VALUES values, and MAX_CONTAINERS
lists and objects. A prompt of a million tokens has some thousand; a hundred megabytes of empty objects would become
gigabytes, which the garbage collector would scan repeatedly.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import orjson

from openai_proxy.errors import BadRequest, TooLarge
from openai_proxy.protocols.json_members import (
    CONTROL,
    MAX_DEPTH,
    Member,
    ambiguous,
    check_case,
    refuse_constant,
)
from openai_proxy.steps import join

WINDOW: Final = 32 * 1024
"""Bytes per step: a millisecond if they are all escapes. Each working thread may take one step before the event loop
gets its turn."""

MAX_VALUES: Final = 1_000_000
MAX_CONTAINERS: Final = 50_000
"""Freeing so many, with 100 MB of text in them, takes the interpreter lock for about 0.1 s."""
MAX_NAME: Final = 64 * 1024
"""Characters of a member's name: looking up one of megabytes hashes it all at once."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_TEXT: Final = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+')
"""A part of a string, cut between two characters or escapes (or within the bytes of one character)."""
_SCALAR: Final = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_LONGEST_NUMBER: Final = 5000  # digits; Python makes no int of more than 4,300

_LONG_NUMBER: Final = 19  # digits from which an integer may exceed 64 bits

_QUOTE: Final = 0x22
_COMMA: Final = 0x2C
_COLON: Final = 0x3A
_OPEN_LIST: Final = 0x5B
_CLOSE_LIST: Final = 0x5D
_OPEN_OBJECT: Final = 0x7B
_CLOSE_OBJECT: Final = 0x7D


def read_value(text: bytes) -> Any:
    """The value of the JSON in `text`. Raises ValueError for invalid JSON, and TooLarge for too many values."""
    try:
        return _DocumentReader(text).read()
    except IndexError:
        raise ValueError("unexpected end") from None


def write(value: Any) -> bytes:
    """`value` as compact JSON, as `json_text.dumps` would write it. Raises TypeError and RecursionError."""
    writer = _DocumentWriter()
    writer.put(value)
    return writer.text()


def read_object(body: bytes) -> tuple[dict[str, Any], list[Member]]:
    """`body` as a JSON object, and the positions of its top-level members.

    Raises BadRequest as `parse_object` does, and TooLarge for too many values.
    """
    reader = _DocumentReader(body)
    try:
        document = reader.read()
    except (ValueError, IndexError):
        raise BadRequest("The request body is not valid JSON.", code="invalid_json") from None
    if type(document) is not dict:
        raise BadRequest("The request body must be a JSON object.", code="invalid_json")
    seen: set[str] = set()
    for member in reader.members:
        if member.name in CONTROL and member.name in seen:
            raise ambiguous(member.name)
        seen.add(member.name)
    check_case(document)
    return document, reader.members


def check_unique(body: bytes) -> None:
    """`json_members.check_unique`."""
    try:
        _DocumentReader(body, unique=True).read()
    except (ValueError, IndexError):
        raise BadRequest("The request body is not valid JSON.", code="invalid_json") from None


class _DocumentReader:
    """One pass over one document. Methods raise ValueError or IndexError for invalid JSON.

    If names must be `unique`, they raise BadRequest for one that an object has twice.
    """

    def __init__(self, body: bytes, *, unique: bool = False) -> None:
        self._body = body
        self._unique = unique
        self._at = 0
        self._values = self._containers = 0
        self._stack: list[tuple[dict[str, Any] | list[Any], str]] = []  # open containers, each with its present key
        self.members: list[Member] = []
        self._key_start = self._value_start = 0
        self._value: Any = None  # the last complete value

    def read(self) -> Any:
        """The value that is the whole document."""
        while True:
            self._skip()
            if len(self._stack) == 1:
                self._value_start = self._at
            self._values += 1
            if self._values > MAX_VALUES:
                raise TooLarge(f"The request holds more than {MAX_VALUES:,} JSON values.", code="too_many_values")
            first = self._body[self._at]
            if first in (_OPEN_OBJECT, _OPEN_LIST):
                value: Any = {} if first == _OPEN_OBJECT else []
                if self._opened(value):
                    continue
            elif first == _QUOTE:
                value = self._string()
            else:
                value = self._scalar()
            if self._closes(value):
                self._skip()
                if self._at != len(self._body):
                    raise ValueError("something follows")
                return self._value

    def _opened(self, value: dict[str, Any] | list[Any]) -> bool:
        """Start a container; False if it is empty, and therefore complete."""
        self._containers += 1
        if self._containers > MAX_CONTAINERS:
            raise TooLarge(
                f"The request holds more than {MAX_CONTAINERS:,} JSON lists and objects.", code="too_many_values"
            )
        self._at += 1
        self._skip()
        if self._body[self._at] == (_CLOSE_LIST if type(value) is list else _CLOSE_OBJECT):
            self._at += 1
            return False
        if len(self._stack) >= MAX_DEPTH:
            raise ValueError("nested too deeply")
        self._stack.append((value, ""))
        if type(value) is dict:
            self._key()
        return True

    def _closes(self, value: Any) -> bool:
        """Store `value`, which is complete, and complete whatever ends with it; True if that is the whole document."""
        stack, body = self._stack, self._body
        while stack:
            container, key = stack[-1]
            if self._unique:
                value = None  # nobody will look at it, and freeing it all at the end would take as long as a long step
            if type(container) is list:
                container.append(value)
            else:
                container[key] = value  # type: ignore[call-overload]  # anything else is a dictionary
                if len(stack) == 1:
                    self.members.append(Member(key, self._key_start, self._value_start, self._at))
            self._skip()
            sign = body[self._at]
            self._at += 1
            if sign == _COMMA:
                if type(container) is dict:
                    self._skip()
                    self._key()
                return False
            if sign != (_CLOSE_LIST if type(container) is list else _CLOSE_OBJECT):
                raise ValueError("a comma or an end was expected")
            stack.pop()
            value = container
        self._value = value
        return True

    def _key(self) -> None:
        if self._body[self._at] != _QUOTE:
            raise ValueError("a name was expected")
        if len(self._stack) == 1:
            self._key_start = self._at
        key = self._string()
        if len(key) > MAX_NAME:
            raise TooLarge(f"The request holds a JSON name of more than {MAX_NAME:,} characters.", code="name_too_long")
        self._skip()
        if self._body[self._at] != _COLON:
            raise ValueError("a colon was expected")
        self._at += 1
        container = self._stack[-1][0]
        if self._unique and key in container:
            raise ambiguous(key)
        self._stack[-1] = (container, key)

    def _skip(self) -> None:
        body, at = self._body, self._at
        while True:
            end = _SPACE.match(body, at, at + WINDOW).end()  # type: ignore[union-attr]  # it matches nothing, too
            if end < at + WINDOW:
                break
            at = end
        self._at = end

    def _scalar(self) -> Any:
        match = _SCALAR.match(self._body, self._at, self._at + _LONGEST_NUMBER)
        if match is None:
            raise ValueError("a value was expected")
        self._at = match.end()
        text = match[0]
        return json.loads(text) if len(text) >= _LONG_NUMBER and text.lstrip(b"-").isdigit() else _loads(text)

    def _string(self) -> str:
        body, start = self._body, self._at + 1
        cuts = [start]
        while True:
            end = _TEXT.match(body, cuts[-1], cuts[-1] + WINDOW).end()  # type: ignore[union-attr]  # as above
            if body[end] == _QUOTE:
                break
            if end == cuts[-1]:  # neither text nor an escape
                raise ValueError("a string was expected to end")
            cuts.append(end)
        self._at = end + 1
        if len(cuts) == 1:
            return str(_loads(body[start - 1 : end + 1]))
        return joined(_loads(b'"%b"' % body[first:last]) for first, last in pairwise(_whole(body, [*cuts, end])))


def _whole(body: bytes, cuts: list[int]) -> Iterator[int]:
    """`cuts`, moved out of characters that they would split. Invalid UTF-8 is noticed by the decoder."""
    for cut in cuts:
        back = 0
        while back < 3 and 0x80 <= body[cut - back] < 0xC0:
            back += 1
        yield cut - back


def joined(texts: Iterator[str]) -> str:
    """`texts` joined. A pair of surrogate escapes that was cut in two becomes one character."""
    parts: list[str] = []
    for text in texts:
        if parts and "\ud800" <= parts[-1][-1:] <= "\udbff" and "\udc00" <= text[:1] <= "\udfff":
            pair = (parts[-1][-1] + text[0]).encode("utf-16", "surrogatepass").decode("utf-16")
            parts[-1] = parts[-1][:-1] + pair
            text = text[1:]
        if text:
            parts.append(text)
    return join(parts)


def _loads(text: bytes) -> Any:
    """One scalar. What orjson refuses, lone surrogates and numbers beyond a double, is parsed as JSON allows it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text.decode(), parse_constant=refuse_constant)


_PIECES: Final = 8192
"""Pieces joined in one step."""


class _DocumentWriter:
    """Writes one value, piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._joined: list[bytes] = []

    def text(self) -> bytes:
        """Everything written."""
        return b"".join([*self._joined, *self._pieces])

    def put(self, value: Any) -> None:
        kind = type(value)
        if kind is str and len(value) > WINDOW:
            self._pieces.append(b'"')
            for at in range(0, len(value), WINDOW):
                self._pieces.append(_dumps(value[at : at + WINDOW])[1:-1])
            self._pieces.append(b'"')
        elif kind is dict and value:
            before = b"{"
            for name, member in value.items():
                self._pieces += (before, _dumps(name if type(name) is str else str(name)), b":")
                self.put(member)
                before = b","
            self._pieces.append(b"}")
        elif kind is list and value:
            before = b"["
            for member in value:
                self._pieces.append(before)
                self.put(member)
                before = b","
            self._pieces.append(b"]")
        else:
            self._pieces.append(_dumps(value))
        if len(self._pieces) >= _PIECES:
            self._joined.append(b"".join(self._pieces))
            self._pieces.clear()


def _dumps(value: Any) -> bytes:
    """A small value, including lone surrogates and integers beyond 64 bits, which orjson refuses."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()
