"""Tool calls in a chat completion stream, put together; their identity often needs repair.

What providers really send was counted in recorded streams: calls without `index` or `id`, several calls all with
index 0, ids and names repeated in every fragment or coming late, `arguments: null`.
"""

from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.chunks import new_id
from openai_proxy.dialects.chat.deltas import Pieces, joined, merge, settle

MAX_NAME: Final = 256
"""Characters of a tool's name that are put together from fragments; no tool of anybody's has as many."""


def new_call_id() -> str:
    """An id for a tool call that came without one."""
    return new_id("call_")


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

    def id(self, at: int) -> str:
        """The id of call `at`: its own, or one made here."""
        call = self._calls[at]
        if "id" not in call:
            call["id"] = new_call_id()
        return str(call["id"])

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

    def begun(self, at: int) -> dict[str, Any]:
        """Call `at` as the entry that announces it: like `call`, with the arguments as far as they have come."""
        entry = self.call(at)
        if entry["type"] == "function":
            entry["function"]["arguments"] = self.arguments(at)
        return entry

    def call(self, at: int) -> dict[str, Any]:
        """Call `at` as an entry of `message.tool_calls`: with id and type, `arguments` a string ("{}" if empty)."""
        self.id(at)
        settled: dict[str, Any] = settle(self._calls[at])
        entry = {"id": settled.pop("id"), "type": settled.pop("type", None) or "function", **settled}
        if entry["type"] == "function":
            function = {"name": "", **entry.get("function", {})}
            arguments = function.get("arguments")
            function["arguments"] = arguments if arguments and not arguments.isspace() else "{}"
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
                piece = argument_text(value)
                if piece and (pieces or piece != "null"):
                    pieces.append(piece)
            elif value is not None:
                merge(inner, {key: value})


def argument_text(value: Any) -> str:
    """A piece of `arguments` as text. Some servers send an object, and `null` for a tool without parameters."""
    if isinstance(value, dict | list):
        return json_text.text(value)
    return value if isinstance(value, str) else ""


def _whole(index: Any) -> int | None:
    """A usable index: 0, 1.0 and "2" are; None, -1, true and "x" are not."""
    if isinstance(index, bool) or index is None:
        return None
    try:
        number = int(float(index))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 and number == float(index) else None
