"""What a model said, gathered from a stream or a whole body, whichever API it was asked through.

One `RecordedAnswer` per exchange, bounded: text past MAX_TEXT is counted and left out, with a mark where it ended.
"""

from typing import Any, Final

from openai_proxy.records.writing.textjson import whole_text

MAX_TEXT: Final = 1024 * 1024  # characters of content, reasoning and tool arguments together
MAX_CALLS: Final = 256
MAX_UNREAD: Final = 2048  # characters kept of what could not be parsed


class RecordedAnswer:
    """The folded state of one answer."""

    __slots__ = (
        "_calls",
        "_content",
        "_reasoning",
        "_room",
        "complete",
        "error",
        "finish_reason",
        "id",
        "left_out",
        "malformed",
        "model",
        "unread",
        "usage",
    )

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[tuple[int, Any], dict[str, Any]] | None = None
        self._room = MAX_TEXT
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: Any = None
        self.model: str | None = None
        self.id: str | None = None
        self.malformed = 0  # events or bodies that were no valid JSON or UTF-8
        self.left_out = 0  # characters past MAX_TEXT
        self.unread = ""  # the beginning of what could not be parsed
        self.complete = False  # the end of the message was seen: [DONE], or its like in other APIs

    def add_text(self, text: str) -> None:
        """More of the answer itself."""
        self._add(self._content, text)

    def add_reasoning(self, text: str) -> None:
        """More of the model's thoughts."""
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
            if len(parts) > 64:  # thousands of short strings weigh fifty bytes each: one long one weighs nothing
                parts[:] = ["".join(parts)]

    def call(self, choice: int, index: Any) -> dict[str, Any]:
        """The tool call of that place, new if it was not there; at most MAX_CALLS, the rest shares the last."""
        calls = self._calls
        if calls is None:
            calls = self._calls = {}
        found = calls.get((choice, index))
        if found is None:
            if len(calls) >= MAX_CALLS:
                return next(reversed(calls.values()))
            found = calls[choice, index] = {"id": None, "name": "", "arguments": []}
        return found

    def last_call(self) -> dict[str, Any]:
        """The call begun last: for deltas that do not say which call they belong to."""
        return next(reversed(self._calls.values())) if self._calls else self.call(0, 0)

    def add_arguments(self, call: dict[str, Any], text: str) -> None:
        """More of a call's arguments."""
        self._add(call["arguments"], text)

    def unreadable(self, text: str) -> None:
        """Something that is no JSON: counted, and its beginning kept."""
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
        """The calls in OpenAI's shape, in the order they began."""
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
        """Characters gathered and left out: what an estimate of tokens starts from."""
        return MAX_TEXT - self._room + self.left_out
