"""How deltas of a chat completion stream add up: members in general, and tool calls, whose identity needs repair.

What providers really send was counted in recorded streams: calls without `index` or `id`, several calls all with
index 0, ids and names repeated in every fragment or coming late, `arguments: null`.
"""

import re
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import orjson

_REPLACED: Final = frozenset({"id", "type", "index", "role", "name", "format", "object", "channel", "status"})
"""String members that name a thing: a later value replaces, it never adds to, an earlier one."""


_LATEST: Final = 256
"""Entries at the end of a list among which the one with an index is looked for: a stream goes on with what came last,
and a search of thousands for each new one takes n² steps."""

MAX_NAME: Final = 256
"""Characters of a tool's name that are put together from fragments; no tool of anybody's has as many."""

_STRUCTURE: Final = re.compile(r'["\\{}\[\]]')


class Pieces(list[str]):
    """A string that is still coming. Joined once at the end: adding to a str member copies it each time."""

    def __init__(self, pieces: Iterable[str] = ()) -> None:
        super().__init__(pieces)
        self._seen = 0  # pieces `is_object` has looked at
        self._depth = 0  # of braces and brackets
        self._quoted = False
        self._escaped = False  # the last character of a piece was a backslash within a string
        self._begun = False
        self._sound: bool | None = None  # False: it can be no object any more; True: it is one

    def is_object(self) -> bool:
        """True if the string so far is a whole JSON object. Each piece is looked at once, however often this is asked.

        Only where the braces say that the object has just ended is the whole of it parsed.
        """
        while self._seen < len(self) and self._sound is not False:
            self._look(self[self._seen])
            self._seen += 1
        return self._sound is True

    def _look(self, piece: str) -> None:
        if self._sound or not self._begun:  # nothing but space may stand around it
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
    """Add `delta` to `into`: strings add up, lists merge by their entries' `index`, other scalars replace."""
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
        # OpenRouter numbers a summary and an encrypted reasoning block alike: the same entry has the same type, too.
        index, kind = item.get("index"), item.get("type")
        for entry in islice(reversed(old), _LATEST) if index is not None else ():
            if isinstance(entry, dict) and entry.get("index") == index and kind in (None, entry.get("type", kind)):
                merge(entry, item)
                break
        else:
            old.append(merge({}, item))
    return old


def joined(pieces: Iterable[str]) -> str:
    """`pieces` as one text that can be encoded.

    Servers written in JavaScript cut between the two UTF-16 halves of a character; here they meet again.
    """
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def settle(value: Any) -> Any:
    """`value` with its pieces joined: plain JSON."""
    if isinstance(value, Pieces):
        return joined(value)
    if isinstance(value, dict):
        return {key: settle(member) for key, member in value.items()}
    if isinstance(value, list):
        return [settle(member) for member in value]
    return value


def is_object(text: str) -> bool:
    """True if `text` is a whole JSON object."""
    try:
        return isinstance(orjson.loads(text), dict)
    except ValueError:
        return False


def new_call_id() -> str:
    """An id for a tool call that came without one."""
    return f"call_{uuid.uuid4().hex[:24]}"


class CallFold:
    """The tool calls of one choice, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._by_index: dict[int, int] = {}  # the provider's index -> the latest call that had it
        self._by_id: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def feed(self, entry: dict[str, Any]) -> int:
        """Add one entry of `delta.tool_calls`; its call's position."""
        function = entry.get("function")
        function = function if isinstance(function, dict) else {}
        name = function.get("name")
        name = name if isinstance(name, str) and name else None
        call_id = entry.get("id")
        call_id = call_id if isinstance(call_id, str) and call_id else None
        index = _whole(entry.get("index"))
        at = self._find(index, call_id, name)
        if at is None:
            at = len(self._calls)
            self._calls.append({})
            if call_id is not None:
                # Two calls with one id could not be answered apart: the second gets its own.
                if call_id in self._by_id:
                    call_id = new_call_id()
                self._by_id[call_id] = at
        call = self._calls[at]
        if index is not None:
            self._by_index[index] = at
        if call_id is not None and "id" not in call:
            call["id"] = call_id
            self._by_id.setdefault(call_id, at)
        self._add(call, entry, function, name)
        return at

    def name(self, at: int) -> str:
        """The name of call `at` as far as it has come."""
        call = self._calls[at]
        inner = call.get("function") or call.get("custom") or {}
        name = inner.get("name")
        return name if isinstance(name, str) else ""

    def arguments(self, at: int) -> str:
        """The arguments of call `at` as far as they have come."""
        return joined(self._calls[at].get("function", {}).get("arguments") or ())

    def is_whole(self, at: int) -> bool:
        """True if the arguments of call `at` are a whole JSON object by now."""
        pieces = self._calls[at].get("function", {}).get("arguments")
        return isinstance(pieces, Pieces) and pieces.is_object()

    def call(self, at: int) -> dict[str, Any]:
        """Call `at` as an entry of `message.tool_calls`: with id and type, `arguments` a string ("{}" if empty)."""
        call = self._calls[at]
        if "id" not in call:
            call["id"] = new_call_id()
        settled: dict[str, Any] = settle(call)
        entry = {"id": settled.pop("id"), "type": settled.pop("type", None) or "function", **settled}
        if entry["type"] == "function":
            function = {"name": "", **entry.get("function", {})}
            function["arguments"] = function.get("arguments") or "{}"
            entry["function"] = function
        return entry

    def calls(self) -> list[dict[str, Any]]:
        """Every call, in order."""
        return [self.call(at) for at in range(len(self._calls))]

    def _find(self, index: int | None, call_id: str | None, name: str | None) -> int | None:
        if index is not None:
            at = self._by_index.get(index)
            return None if at is None or self._is_another(at, call_id, name) else at
        if call_id is not None and call_id in self._by_id:
            return self._by_id[call_id]
        last = len(self._calls) - 1
        if last < 0 or (call_id is not None and "id" in self._calls[last]):
            return None
        if name is not None and self.name(last):
            return None  # whole calls without index or id, one entry each (Gemini's compatible endpoint)
        return last

    def _is_another(self, at: int, call_id: str | None, name: str | None) -> bool:
        """True if an entry with the index of call `at` begins a new call all the same."""
        if name is None:
            return False  # some vLLM versions send a fresh id with each fragment: an id alone begins nothing
        known = self._calls[at].get("id")
        if call_id is not None and known is not None:
            return str(known) != call_id
        return bool(self.name(at)) and self.is_whole(at)

    def _add(self, call: dict[str, Any], entry: dict[str, Any], function: dict[str, Any], name: str | None) -> None:
        rest = {k: v for k, v in entry.items() if k not in ("id", "index", "function") and v is not None}
        if rest:
            merge(call, rest)
        if not function:
            return
        inner = call.setdefault("function", {})
        for key, value in function.items():
            if key == "name":
                known = inner.get("name")
                if name is not None and known != name:
                    # A name in fragments adds up; a name repeated whole does not.
                    name = name if known is None or name.startswith(known) else known + name
                    inner["name"] = name[:MAX_NAME]
            elif key == "arguments":
                pieces = inner.setdefault("arguments", Pieces())
                if isinstance(value, dict | list):
                    pieces.append(orjson.dumps(value).decode())
                elif isinstance(value, str) and value:
                    pieces.append(value)
            elif value is not None:
                merge(inner, {key: value})


def _whole(index: Any) -> int | None:
    """A usable index: 0, 1.0 and "2" are; None, -1, true and "x" are not."""
    if isinstance(index, bool) or index is None:
        return None
    try:
        number = int(float(index))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 and number == float(index) else None
