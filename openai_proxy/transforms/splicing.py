"""Changes strings deep inside a raw JSON body without touching any other byte.

The counterpart of protocols/json_members below the top level: a message's text, a message in a list.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping

from openai_proxy import steps
from openai_proxy.dialects import json_text

Path = tuple[str | int, ...]
"""Keys and indexes from the top: `("messages", 3, "content", 0, "text")`."""

_SPACE = b" \t\r\n"
_SIGN = re.compile(rb'["{}\[\],:]')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_WINDOW = 32 * 1024
"""Bytes of a string that are skipped per step: a millisecond if they are all escapes."""

Cut = tuple[int, int, bytes]


def splice(body: bytes, replace: Mapping[Path, bytes], remove: Collection[Path] = ()) -> bytes:
    """`body` with the values at the paths of `replace` set to the given JSON, and the elements at `remove` removed.

    `body` must be valid JSON; `remove` names elements of arrays, none inside another. Missing paths are ignored; of a
    duplicate name both are changed.
    """
    cuts = _Scan(body, replace, frozenset(remove)).run()
    pieces: list[bytes] = []
    position = 0
    for start, end, new in sorted(cuts):
        if start < position:
            continue  # inside something that is removed
        pieces += (*steps.pieces(body, position, start), new)
        position = end
    pieces += steps.pieces(body, position)
    return b"".join(pieces)


def _signs(body: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each string, bracket, comma and colon in `body`, however long a string or a gap is."""
    at = 0
    while at < len(body):
        match = _SIGN.search(body, at, at + steps.STEP)
        if match is None:
            at += steps.STEP
            continue
        start, at = match.span()
        if body[start] == 0x22:
            while (end := _IN_STRING.match(body, at, at + _WINDOW).end()) > at:  # type: ignore[union-attr]  # always matches
                at = end
            at += 1
        yield start, at


class _Scan:
    """One walk over the tokens of a body, tracking the path."""

    def __init__(self, body: bytes, replace: Mapping[Path, bytes], remove: frozenset[Path]) -> None:
        self._body = body
        self._replace = replace
        self._remove = remove
        self._removed: dict[Path, list[int]] = {}  # array -> indexes of its elements in `remove`, in order
        for path in sorted(remove, key=lambda path: path[-1]):
            self._removed.setdefault(path[:-1], []).append(path[-1])  # type: ignore[arg-type]  # elements of arrays
        self._depths = {len(path) for path in (*replace, *remove)}
        self._path: list[str | int] = []
        self._begins: list[int] = []  # of the value at each step of the path, after its comma, bracket or colon
        self._cuts: list[Cut] = []

    def run(self) -> list[Cut]:
        """The changes to make."""
        path, begins = self._path, self._begins
        objects: list[bool] = []
        key_next = False
        for start, end in _signs(self._body):
            first = self._body[start]
            if first == 0x22:
                if key_next:
                    path[-1] = json_text.loads(self._body[start:end], exact=False)
                    key_next = False
            elif first in b"{[":
                objects.append(first == 0x7B)
                key_next = objects[-1]
                path.append("" if key_next else 0)
                begins.append(start + 1)
            elif first == 0x3A:
                begins[-1] = start + 1
            else:
                if len(path) in self._depths:
                    self._value(start, last=first != 0x2C)
                if first == 0x2C:
                    key_next = objects[-1]
                    if not key_next:
                        path[-1] += 1  # type: ignore[operator]  # an array's step is its index
                    begins[-1] = start + 1
                else:
                    objects.pop()
                    path.pop()
                    begins.pop()
                    key_next = False
        return self._cuts

    def _value(self, end: int, *, last: bool) -> None:
        path = tuple(self._path)
        begin = self._begins[-1]
        if path in self._remove:
            index = path[-1]
            assert isinstance(index, int)
            kept_before = index > bisect_left(self._removed[path[:-1]], index)
            if kept_before:
                begin -= 1  # with the comma before it
            elif not last:
                end += 1  # with the comma after it
            self._cuts.append((begin, end, b""))
            return
        new = self._replace.get(path)
        while new is not None and begin < end and self._body[begin] in _SPACE:
            begin += 1
        if new is None or begin == end:
            return
        while self._body[end - 1] in _SPACE:
            end -= 1
        self._cuts.append((begin, end, new))
