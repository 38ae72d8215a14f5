"""Chat completions: chunks folded into messages.

The fold accepts whatever providers really send (usage in any chunk, a finish repeated or missing, content in lists,
reasoning under three names, odd tool calls) and keeps unknown members.
"""

from typing import Any, Final

from openai_proxy.dialects.chat.calls import CallFold
from openai_proxy.dialects.chat.chunks import completion, new_id
from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.chat.deltas import joined, merge, settle
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.chat.finish import finish_of, unknown_word
from openai_proxy.dialects.chat.think import split_think

REASONING: Final = ("reasoning_content", "reasoning", "reasoning_details")
"""Members that hold reasoning: of DeepSeek and most servers, of OpenRouter and Groq, of OpenRouter in detail."""

_KNOWN: Final = frozenset({"id", "object", "created", "model", "choices", "usage"})


class _ChoiceFold:
    __slots__ = ("calls", "finish_reason", "lists", "logprobs", "members", "odd_end", "pieces", "role")

    def __init__(self) -> None:
        self.role = "assistant"
        self.pieces: list[Any] = []  # content as received: strings, or from some providers lists of parts
        self.lists = False
        self.members: dict[str, Any] = {}  # every member but role, content and tool_calls
        self.calls: CallFold | None = None
        self.finish_reason: str | None = None
        self.odd_end = False  # its last finish_reason is unknown
        self.logprobs: dict[str, Any] | None = None

    def add(self, delta: dict[str, Any]) -> None:
        for key, value in delta.items():
            if value is None:
                continue
            if key == "content":
                if isinstance(value, str | list):
                    self.pieces.append(value)
                    self.lists = self.lists or isinstance(value, list)
            elif key == "tool_calls":
                if isinstance(value, list):
                    if self.calls is None:
                        self.calls = CallFold()
                    for entry in value:
                        if isinstance(entry, dict):
                            self.calls.feed(entry)
            elif key == "role":
                self.role = value
            else:
                merge(self.members, {key: value})

    def end(self, choice: dict[str, Any]) -> None:
        """Read how `choice` ended. An error remains one, whatever follows."""
        reason = finish_of(choice)
        if reason is not None and self.finish_reason != "error":
            self.finish_reason = reason
        self.odd_end = unknown_word(choice)

    def content(self) -> tuple[str, str]:
        """(text, reasoning) of the content, without looking for `<think>`."""
        if not self.lists:
            return joined(self.pieces), ""
        texts, thoughts = zip(*(text_of(piece) for piece in self.pieces), strict=True)
        return joined(texts), joined(thoughts)

    def parts(self) -> list[Any]:
        """The content as a list of parts, for a provider that uses parts; adjacent ones of one kind are joined."""
        parts: list[dict[str, Any]] = []
        for piece in self.pieces:
            entries: list[Any] = [{"type": "text", "text": piece}] if isinstance(piece, str) else piece
            for part in entries:
                if not isinstance(part, dict):
                    continue
                kind = part.get("type")
                if parts and kind in ("text", "thinking") and parts[-1].get("type") == kind:
                    merge(parts[-1], part)
                else:
                    parts.append(merge({}, part))
        for part in parts:
            # Thinking parts hold a list of text parts, one per delta; a whole answer has a single text.
            thinking = settle(part.get("thinking"))
            if isinstance(thinking, list):
                part["thinking"] = [{"type": "text", "text": text_of(thinking)[0]}]
        return [settle(part) for part in parts]


class MessageFold:
    """Folds the chunks of one stream (or one whole completion: `message` counts as a delta) into messages.

    `usage` is the last one seen, `error` the error object of an in-band failure. Never raises on odd shapes: what is
    not understood is left out.
    """

    def __init__(self) -> None:
        self.id: str | None = None
        self.model: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: Any = None
        self.extras: dict[str, Any] = {}  # unknown members of the envelope
        self._choices: dict[int, _ChoiceFold] = {}

    def feed(self, chunk: dict[str, Any]) -> None:
        """Add one chunk."""
        choices = chunk.get("choices")
        if choices and isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._choice(choice)
        usage = chunk.get("usage")
        if usage and isinstance(usage, dict):
            self.usage = usage
        if self.id is None or not chunk.keys() <= _KNOWN:
            self._envelope(chunk)

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if type(index) is not int:
            index = 0
        fold = self._choices.get(index)
        if fold is None:
            fold = self._choices[index] = _ChoiceFold()
        delta = choice["delta"] if "delta" in choice else choice.get("message")
        if delta and isinstance(delta, dict):
            content = delta.get("content")
            if type(content) is str and (len(delta) == 1 or (len(delta) == 2 and "role" in delta)):
                fold.pieces.append(content)  # nearly every chunk
            else:
                fold.add(delta)
        reason = choice.get("finish_reason")
        if reason is not None or "native_finish_reason" in choice:
            fold.end(choice)
        logprobs = choice.get("logprobs")
        if logprobs and isinstance(logprobs, dict):
            fold.logprobs = merge(fold.logprobs or {}, logprobs)

    def _envelope(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error") or "choices" not in chunk:
            self.error = error_of(chunk) or self.error
        if self.id is None and isinstance(chunk.get("id"), str):
            self.id = chunk["id"] or None
        if self.model is None and isinstance(chunk.get("model"), str):
            self.model = chunk["model"] or None
        for key, value in chunk.items():
            if key not in _KNOWN and key != "error" and value is not None:
                self.extras[key] = value

    @property
    def indices(self) -> list[int]:
        """The indices of the choices seen, in order."""
        return sorted(self._choices)

    @property
    def finish_reason(self) -> str | None:
        """Why choice 0 ended; None while it has not."""
        return self.finish_of(0)

    def finish_of(self, index: int) -> str | None:
        """Why choice `index` ended, in one of the chat API's words; None while it has not."""
        fold = self._choices.get(index)
        return fold.finish_reason if fold is not None else None

    def close(self) -> None:
        """End the stream: a choice whose last finish_reason is unknown has ended with it."""
        for fold in self._choices.values():
            if fold.finish_reason is None and fold.odd_end:
                fold.finish_reason = "stop"

    def calls(self, index: int = 0) -> CallFold | None:
        """The tool calls of a choice, even while incomplete; None before the first."""
        fold = self._choices.get(index)
        return fold.calls if fold is not None else None

    def message(self, index: int = 0, *, think: bool = True) -> dict[str, Any]:
        """The message for a client: text in `content`, thinking parts (and `<think>`) as reasoning."""
        fold = self._choices.get(index) or _ChoiceFold()
        content, thoughts = fold.content()
        if think and "<think>" in content:
            content, more = split_think(content)
            thoughts += more
        message = self._message(fold, content)
        if thoughts:
            message["reasoning_content"] = (message.get("reasoning_content") or "") + thoughts
        return message

    def turn(self, index: int = 0) -> dict[str, Any]:
        """The message exactly as the provider sent it, to be returned in the next request."""
        fold = self._choices.get(index) or _ChoiceFold()
        if fold.lists:
            return self._message(fold, fold.parts())
        # An empty text beside calls is kept: some servers want exactly what they sent.
        return self._message(fold, joined(fold.pieces), empty="" if fold.pieces else None)

    def _message(self, fold: _ChoiceFold, content: Any, empty: str | None = None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": fold.role, "content": content if content or not fold.calls else empty}
        message.update(settle(fold.members))
        if fold.calls:
            message["tool_calls"] = fold.calls.calls()
        return message

    def completion(self, *, think: bool = True) -> dict[str, Any]:
        """The result as a `chat.completion`."""
        choices = [
            {
                "index": index,
                "message": self.message(index, think=think),
                "logprobs": settle(self._choices[index].logprobs),
                "finish_reason": self._choices[index].finish_reason,
            }
            for index in self.indices
        ]
        return completion(self.id or new_id(), self.model or "", choices, usage=self.usage, **self.extras)
