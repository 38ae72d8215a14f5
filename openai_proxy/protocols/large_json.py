"""Reading large JSON objects without keeping the interpreter lock for long: for a thread beside the event loop.

One call of a C parser for 100 MB holds the lock for seconds, whichever thread makes it, and nothing else of the process
runs meanwhile. Here no single step takes more than WINDOW bytes, and between two steps the lock can change hands. That
costs about a microsecond for each value, so it is for bodies from LARGE bytes on.

The same is accepted, and refused, as by `json_members.parse_object`; besides, a document may not hold more than
MAX_VALUES values, or MAX_CONTAINERS lists and objects. A prompt of a million tokens has some thousand; a hundred
megabytes of empty objects would become gigabytes, through which the garbage collector goes again and again.
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

LARGE: Final = 2 * 1024 * 1024
"""Bytes of a body from which on it is read here: a smaller one takes a C parser some milliseconds, 80 at worst."""

WINDOW: Final = 256 * 1024
"""Bytes that are looked at in one step: half a millisecond, and 10 for nothing but escapes."""

MAX_VALUES: Final = 1_000_000
MAX_CONTAINERS: Final = 200_000

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_TEXT: Final = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+')
"""A part of a string, cut between two characters or escapes (or within the bytes of one character)."""
_SCALAR: Final = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_LONGEST_NUMBER: Final = 5000  # digits; Python makes no int of more than 4,300

_QUOTE: Final = 0x22
_COMMA: Final = 0x2C
_COLON: Final = 0x3A
_OPEN_LIST: Final = 0x5B
_CLOSE_LIST: Final = 0x5D
_OPEN_OBJECT: Final = 0x7B
_CLOSE_OBJECT: Final = 0x7D


def read_object(body: bytes) -> tuple[dict[str, Any], list[Member]]:
    """`body` as a JSON object, and where its top-level members stand.

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


class _DocumentReader:
    """One pass over one document. Methods raise ValueError or IndexError for what is no JSON."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0
        self._values = self._containers = 0
        self._stack: list[tuple[dict[str, Any] | list[Any], str]] = []  # open containers, each with its present key
        self.members: list[Member] = []
        self._key_start = self._value_start = 0
        self._value: Any = None  # what ended last

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
        """A container begins; False if it is empty, and over."""
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
        """Put `value`, which has ended, where it belongs, and whatever ends with it; True if that is all there is."""
        stack, body = self._stack, self._body
        while stack:
            container, key = stack[-1]
            if type(container) is list:
                container.append(value)
            else:
                container[key] = value  # type: ignore[call-overload]  # the other kind is a dictionary
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
        self._skip()
        if self._body[self._at] != _COLON:
            raise ValueError("a colon was expected")
        self._at += 1
        self._stack[-1] = (self._stack[-1][0], key)

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
        return _loads(match[0])

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
    """`cuts`, moved ahead of a character they go through. What is no UTF-8 is seen by whoever decodes it."""
    for cut in cuts:
        back = 0
        while back < 3 and 0x80 <= body[cut - back] < 0xC0:
            back += 1
        yield cut - back


def joined(texts: Iterator[str]) -> str:
    """`texts` as one. A pair of surrogate escapes that was cut in two is one character again."""
    parts: list[str] = []
    for text in texts:
        if parts and "\ud800" <= parts[-1][-1:] <= "\udbff" and "\udc00" <= text[:1] <= "\udfff":
            pair = (parts[-1][-1] + text[0]).encode("utf-16", "surrogatepass").decode("utf-16")
            parts[-1] = parts[-1][:-1] + pair
            text = text[1:]
        if text:
            parts.append(text)
    return "".join(parts)


def _loads(text: bytes) -> Any:
    """One scalar. What orjson refuses, lone surrogates and numbers beyond a double, is read as JSON allows it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text.decode(), parse_constant=refuse_constant)
