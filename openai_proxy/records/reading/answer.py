"""A model's answer, collected from a stream or a whole body, in whatever API.

One `RecordedAnswer` per exchange, bounded: text past MAX_TEXT and the arguments of calls past MAX_CALLS are counted and
left out, with a mark at its end.
"""

from typing import Any, Final

from openai_proxy.dialects.base import JsonReader
from openai_proxy.dialects.chat.call_places import CallPlaces
from openai_proxy.dialects.chat.deltas import Pieces
from openai_proxy.records.writing.textjson import whole_text

MAX_TEXT: Final = 1024 * 1024  # characters of content, reasoning and tool arguments together
MAX_CALLS: Final = 256
MAX_UNREAD: Final = 2048  # characters kept of what could not be parsed

_TOO_MANY: Final[dict[str, Any]] = {"id": None, "name": "", "arguments": ()}
"""Stands for every call after the first MAX_CALLS."""


class RecordedAnswer:
    """The accumulated state of one answer."""

    __slots__ = (
        "_calls",
        "_content",
        "_places",
        "_reasoning",
        "_room",
        "error",
        "finish_reason",
        "id",
        "left_out",
        "malformed",
        "model",
        "reader",
        "unread",
        "usage",
    )

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[tuple[int, int], dict[str, Any]] | None = None
        self._places: dict[int, CallPlaces] | None = None  # of a chat answer's calls, by choice
        self._room = MAX_TEXT
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: Any = None
        self.model: str | None = None
        self.id: str | None = None
        self.malformed = 0  # events or bodies that were not valid JSON or UTF-8
        self.left_out = 0  # characters past MAX_TEXT, or of calls past MAX_CALLS
        self.unread = ""  # the beginning of what could not be parsed
        self.reader: JsonReader | None = None  # the reader of its dialect, unless that is the chat API

    def add_text(self, text: str) -> None:
        """More of the answer itself."""
        self._add(self._content, text)

    def add_reasoning(self, text: str) -> None:
        """More of the model's reasoning."""
        self._add(self._reasoning, text)

    def _add(self, parts: list[str], text: str) -> None:
        size = len(text)
        if size > self._room:
            self.left_out += size - self._room
            text = text[: self._room]
            size = self._room
        if text:
            self._room -= size
            parts.append(text)
            if len(parts) > 64:  # thousands of short strings have fifty bytes of overhead each
                if isinstance(parts, Pieces):
                    parts.collapse()
                else:
                    parts[:] = ["".join(parts)]

    def chat_call(self, choice: int, entry: dict[str, Any]) -> dict[str, Any]:
        """The tool call that `entry` of a chat delta's `tool_calls` begins or continues; at most MAX_CALLS are kept."""
        if self._places is None:
            self._places = {}
        places = self._places.get(choice)
        if places is None:
            if len(self._places) >= MAX_CALLS:
                return _TOO_MANY
            places = self._places[choice] = CallPlaces(MAX_CALLS)
        at = places.place(entry, lambda at: self._is_whole(choice, at))
        known = self._call(choice, at)
        if known is not _TOO_MANY:
            known["id"] = known["id"] or entry.get("id")
            known["name"] = places.names[at]
        return known

    def _call(self, choice: int, at: int) -> dict[str, Any]:
        if self._calls is None:
            self._calls = {}
        found = self._calls.get((choice, at))
        if found is None:
            if len(self._calls) >= MAX_CALLS:
                return _TOO_MANY
            found = self._calls[choice, at] = {"id": None, "name": "", "arguments": Pieces()}
        return found

    def _is_whole(self, choice: int, at: int) -> bool:
        known = (self._calls or {}).get((choice, at))
        return known is not None and known["arguments"].is_object()

    def add_arguments(self, call: dict[str, Any], text: str) -> None:
        """More of a call's arguments."""
        if call is _TOO_MANY:
            self.left_out += len(text)
        else:
            self._add(call["arguments"], text)

    def unreadable(self, text: str) -> None:
        """Count something that is not JSON, and keep its beginning."""
        self.malformed += 1
        if len(self.unread) < MAX_UNREAD:
            self.unread += text[: MAX_UNREAD - len(self.unread)]

    @property
    def content(self) -> str:
        """The whole text, with a mark if some was left out."""
        text = whole_text("".join(self._content))
        return f"{text}… [{self.left_out} characters left out]" if self.left_out else text

    @property
    def reasoning(self) -> str:
        """The whole reasoning."""
        return whole_text("".join(self._reasoning))

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls in OpenAI's shape, in the order in which they began."""
        return [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": whole_text("".join(call["arguments"]))},
            }
            for call in (self._calls or {}).values()
        ]

    @property
    def size(self) -> int:
        """Characters collected and left out, for estimating tokens."""
        return MAX_TEXT - self._room + self.left_out
