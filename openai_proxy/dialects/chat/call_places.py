"""Assigns the entries of `delta.tool_calls` to the calls of a message.

Recorded streams of real providers contain calls without `index` or `id`, several calls all with index 0, ids and names
repeated in every fragment or arriving late, and `arguments: null`.
"""

import sys
from collections.abc import Callable
from typing import Any, Final

from openai_proxy.dialects import json_text

MAX_NAME: Final = 256
"""Characters of a tool's name that are assembled from fragments; no real tool's name is longer."""


class CallPlaces:
    """The calls of one choice by position, from 0 in the order in which they begin. Those after the first `most` share
    the position `most`.
    """

    __slots__ = ("_by_id", "_by_index", "_ids", "_most", "names")

    def __init__(self, most: int = sys.maxsize) -> None:
        self._most = most
        self._by_index: dict[int, int] = {}  # the provider's index -> the latest call with it
        self._by_id: dict[str, int] = {}
        self._ids: list[str | None] = []  # the first id of each call
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self._ids)

    def place(self, entry: dict[str, Any], is_whole: Callable[[int], bool]) -> int:
        """The position of the call that `entry` begins or continues.

        `is_whole` says whether the arguments of the call at a position are a complete object.
        """
        function = entry.get("function") or entry.get("custom")
        name = function.get("name") if isinstance(function, dict) else None
        name = name if isinstance(name, str) and name else None
        call_id = entry.get("id")
        call_id = call_id if isinstance(call_id, str) and call_id else None
        index = _whole(entry.get("index"))
        at = self._find(index, call_id, name, is_whole)
        if at is None:
            at = min(len(self._ids), self._most)
            if at == len(self._ids):
                self._ids.append(None)
                self.names.append("")
        if index is not None and (at < self._most or index in self._by_index):  # an unknown one begins a call anyway
            self._by_index[index] = at
        if call_id is not None and self._ids[at] is None:
            self._ids[at] = call_id
            self._by_id.setdefault(call_id, at)
        if name is not None:
            known = self.names[at]
            # A name in fragments is concatenated; a repeated full name is not.
            self.names[at] = (name if name.startswith(known) else known + name)[:MAX_NAME]
        return at

    def id(self, at: int) -> str | None:
        """The id of call `at`; None if it came without one or with that of an earlier call, because two calls with the
        same id could not be answered separately.
        """
        known = self._ids[at]
        return known if known is not None and self._by_id[known] == at else None

    def _find(
        self, index: int | None, call_id: str | None, name: str | None, is_whole: Callable[[int], bool]
    ) -> int | None:
        if index is not None:
            at = self._by_index.get(index)
            return None if at is None or self._is_another(at, call_id, name, is_whole) else at
        if call_id is not None and call_id in self._by_id:
            return self._by_id[call_id]
        last = len(self._ids) - 1
        if last < 0 or (call_id is not None and self._ids[last] is not None):
            return None
        if name is not None and self.names[last]:
            return None  # complete calls without index or id, one entry each (Gemini's compatible endpoint)
        return last

    def _is_another(self, at: int, call_id: str | None, name: str | None, is_whole: Callable[[int], bool]) -> bool:
        """True if an entry with the index of call `at` nevertheless begins a new call."""
        if name is None:
            return False  # some vLLM versions send a new id with each fragment, so an id alone does not begin a call
        known = self._ids[at]
        if call_id is not None and known is not None:
            return known != call_id
        return bool(self.names[at]) and is_whole(at)


def argument_text(value: Any) -> str:
    """A piece of `arguments` as text. Some servers send an object, or `null` for a tool without parameters."""
    if isinstance(value, dict | list):
        return json_text.text(value)
    return value if isinstance(value, str) else ""


def _whole(index: Any) -> int | None:
    """A usable index: 0, 1.0 and "2" are; None, -1, true and "x" are not."""
    if type(index) is int:
        return index if index >= 0 else None
    if isinstance(index, bool) or index is None:
        return None
    try:
        number = int(float(index))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 and number == float(index) else None
