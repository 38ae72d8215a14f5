"""How members of a chat completion stream's deltas are merged."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.halves import encodable

_REPLACED: Final = frozenset({"id", "type", "index", "role", "name", "format", "object", "channel", "status"})
"""String members that are names: a later value replaces the earlier one instead of being appended."""


_LATEST: Final = 256
"""How many entries at the end of a list are searched for an index: a stream continues its latest entries, and a search
through thousands for each new one would be quadratic.
"""

MANY: Final = 64
"""Pieces from which joining them pays."""

_STRUCTURE: Final = re.compile(r'["\\{}\[\]]')


class Pieces(list[str]):
    """An incomplete string. Joined once at the end, because appending to a str member copies it each time."""

    def __init__(self, pieces: Iterable[str] = ()) -> None:
        super().__init__(pieces)
        self._seen = 0  # pieces already seen by `is_object`
        self._depth = 0  # depth of braces and brackets
        self._quoted = False
        self._escaped = False  # the last character of a piece was a backslash inside a string
        self._begun = False
        self._sound: bool | None = None  # False: it can no longer be an object; True: it is one

    def is_object(self) -> bool:
        """True if the string so far is a complete JSON object. Each piece is scanned once, however often this is
        called.

        It is parsed only when the braces show that the object has just ended.
        """
        while self._seen < len(self) and self._sound is not False:
            self._look(self[self._seen])
            self._seen += 1
        return self._sound is True

    def collapse(self) -> None:
        """Join all pieces into one."""
        if self._seen:
            self.is_object()
            self._seen = 1
        self[:] = ["".join(self)]

    def _look(self, piece: str) -> None:
        if self._sound or not self._begun:  # only whitespace may surround it
            rest = piece.lstrip(" \t\r\n")
            if not rest:
                return
            if self._sound or rest[0] != "{":
                self._sound = False
                return
            self._begun = True
        position = 0
        if self._escaped and piece:
            self._escaped = False
            position = 1
        while (found := _STRUCTURE.search(piece, position)) is not None:
            position = found.end()
            mark = found[0]
            if self._quoted:
                if mark == "\\":
                    self._escaped = position == len(piece)
                    position += 1
                elif mark == '"':
                    self._quoted = False
            elif mark == '"':
                self._quoted = True
            else:
                self._depth += 1 if mark in "{[" else -1
                if self._depth <= 0:
                    whole = [*self[: self._seen], piece]
                    self._sound = not piece[position:].strip(" \t\r\n") and is_object("".join(whole))
                    return


def merge(into: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """Add `delta` to `into`: strings are concatenated, lists merged by `index`, other scalars replaced."""
    for key, value in delta.items():
        old = into.get(key)
        if value is None:
            into.setdefault(key, None)
        elif isinstance(value, str):
            if key in _REPLACED:
                if value or old is None:
                    into[key] = value
            elif isinstance(old, Pieces):
                old.append(value)
            else:
                into[key] = Pieces((value,))
        elif isinstance(value, dict):
            into[key] = merge(old if isinstance(old, dict) else {}, value)
        elif isinstance(value, list):
            into[key] = _merge_list(old if type(old) is list else [], value)
        else:
            into[key] = value
    return into


def _merge_list(old: list[Any], new: list[Any]) -> list[Any]:
    for item in new:
        if not isinstance(item, dict):
            old.append(item)
            continue
        # OpenRouter gives a summary and an encrypted reasoning block the same index: the type must match, too.
        index, kind = item.get("index"), item.get("type")
        for entry in islice(reversed(old), _LATEST) if index is not None else ():
            if isinstance(entry, dict) and entry.get("index") == index and kind in (None, entry.get("type", kind)):
                merge(entry, item)
                break
        else:
            old.append(merge({}, item))
    return old


def joined(pieces: Iterable[str]) -> str:
    """`pieces` as one encodable text.

    Servers written in JavaScript cut between the two UTF-16 halves of a character; here they are rejoined.
    """
    text = "".join(pieces)
    return text if text.isascii() else encodable(text)


def settle(value: Any) -> Any:
    """`value` with its pieces joined: plain JSON."""
    if isinstance(value, Pieces):
        if len(value) > MANY:  # calls would otherwise join them again and again
            value.collapse()
        return joined(value)
    if isinstance(value, dict):
        return {key: settle(member) for key, member in value.items()}
    if isinstance(value, list):
        return [settle(member) for member in value]
    return value


def is_object(text: str) -> bool:
    """True if `text` is a whole JSON object."""
    try:
        return isinstance(json_text.loads(text), dict)
    except ValueError:
        return False
