"""A model's answer, collected from a stream or a whole body, in whatever API.

One `RecordedAnswer` per exchange, bounded: text past MAX_TEXT is counted and left out, with a mark at its end.
"""

from typing import Any, Final

from openai_proxy.dialects.base import JsonReader
from openai_proxy.dialects.chat.call_places import CallPlaces
from openai_proxy.dialects.chat.deltas import Pieces
from openai_proxy.records.writing.textjson import whole_text

MAX_TEXT: Final = 1024 * 1024  # characters of content, reasoning and tool arguments together
MAX_CALLS: Final = 256
MAX_UNREAD: Final = 2048  # characters kept of what could not be parsed


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
        self._calls: dict[tuple[int, Any], dict[str, Any]] | None = None
        self._places: dict[int, CallPlaces] | None = None  # of a chat answer's calls, by choice
        self._room = MAX_TEXT
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: Any = None
        self.model: str | None = None
        self.id: str | None = None
        self.malformed = 0  # events or bodies that were not valid JSON or UTF-8
        self.left_out = 0  # characters past MAX_TEXT
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

    def call(self, choice: int, index: Any) -> dict[str, Any]:
        """The tool call at that position, new if there was none; at most MAX_CALLS, the rest shares the last."""
        calls = self._calls
        if calls is None:
            calls = self._calls = {}
        found = calls.get((choice, index))
        if found is None:
            if len(calls) >= MAX_CALLS:
                return next(reversed(calls.values()))
            found = calls[choice, index] = {"id": None, "name": "", "arguments": Pieces()}
        return found

    def chat_call(self, choice: int, entry: dict[str, Any]) -> dict[str, Any]:
        """The tool call that `entry` of a chat delta's `tool_calls` begins or continues."""
        if self._places is None:
            self._places = {}
        places = self._places.get(choice)
        if places is None and len(self._places) < MAX_CALLS:
            places = self._places[choice] = CallPlaces()
        if places is None or len(places) >= MAX_CALLS:
            return self.call(choice, MAX_CALLS)
        at = places.place(entry, lambda at: self.call(choice, at)["arguments"].is_object())
        known = self.call(choice, at)
        known["id"] = known["id"] or entry.get("id")
        known["name"] = places.names[at]
        return known

    def add_arguments(self, call: dict[str, Any], text: str) -> None:
        """More of a call's arguments."""
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
