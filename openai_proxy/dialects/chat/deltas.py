"""How deltas of a chat completion stream add up: members in general, and tool calls, whose identity needs repair.

What providers really send was counted in recorded streams: calls without `index` or `id`, several calls all with
index 0, ids and names repeated in every fragment or coming late, `arguments: null`.
"""

import uuid
from collections.abc import Iterable
from typing import Any, Final

import orjson

_REPLACED: Final = frozenset({"id", "type", "index", "role", "name", "format", "object", "channel", "status"})
"""String members that name a thing: a later value replaces, it never adds to, an earlier one."""


class Pieces(list[str]):
    """A string that is still coming. Joined once at the end: adding to a str member copies it each time."""


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
        for entry in reversed(old) if index is not None else ():
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
        return bool(self.name(at)) and is_object(self.arguments(at))

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
                    inner["name"] = name if known is None or name.startswith(known) else known + name
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
