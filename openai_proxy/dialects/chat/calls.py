"""Assembles tool calls from a chat completion stream."""

from typing import Any

from openai_proxy.dialects.chat.call_places import CallPlaces, argument_text
from openai_proxy.dialects.chat.chunks import new_id
from openai_proxy.dialects.chat.deltas import Pieces, joined, merge, settle


def new_call_id() -> str:
    """An id for a tool call that came without one."""
    return new_id("call_")


class CallFold:
    """The tool calls of one choice, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._places = CallPlaces()

    def __len__(self) -> int:
        return len(self._calls)

    def feed(self, entry: dict[str, Any]) -> int:
        """Add one entry of `delta.tool_calls`; returns its call's position."""
        at = self._places.place(entry, self.is_whole)
        if at == len(self._calls):
            self._calls.append({})
        call = self._calls[at]
        if "id" not in call and (known := self._places.id(at)) is not None:
            call["id"] = known
        function = entry.get("function")
        self._add(call, entry, function if isinstance(function, dict) else {}, self._places.names[at])
        return at

    def id(self, at: int) -> str:
        """The id of call `at`: its own, or a generated one."""
        call = self._calls[at]
        if "id" not in call:
            call["id"] = new_call_id()
        return str(call["id"])

    def name(self, at: int) -> str:
        """The name of call `at` so far."""
        return self._places.names[at]

    def arguments(self, at: int) -> str:
        """The arguments of call `at` so far."""
        return joined(self._calls[at].get("function", {}).get("arguments") or ())

    def goes_on(self, at: int) -> bool:
        """True if the arguments received of call `at` cannot be a complete object yet."""
        pieces = self._calls[at].get("function", {}).get("arguments") or ("",)
        return not pieces[-1].rstrip().endswith("}") and not pieces[-1].isspace() and bool(pieces[-1])

    def is_whole(self, at: int) -> bool:
        """True if the arguments of call `at` are a complete JSON object."""
        pieces = self._calls[at].get("function", {}).get("arguments")
        return isinstance(pieces, Pieces) and pieces.is_object()

    def begun(self, at: int) -> dict[str, Any]:
        """Call `at` as its announcing entry: like `call`, with the arguments so far."""
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

    def _add(self, call: dict[str, Any], entry: dict[str, Any], function: dict[str, Any], name: str) -> None:
        rest = {k: v for k, v in entry.items() if k not in ("id", "index", "function") and v is not None}
        if rest:
            merge(call, rest)
        if not function:
            return
        inner = call.setdefault("function", {})
        for key, value in function.items():
            if key == "name":
                if name:
                    inner["name"] = name
            elif key == "arguments":
                pieces = inner.setdefault("arguments", Pieces())
                piece = argument_text(value)
                if piece and (pieces or piece != "null"):
                    pieces.append(piece)
            elif value is not None:
                merge(inner, {key: value})
