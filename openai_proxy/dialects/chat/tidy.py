"""Turns chunks as providers send them into what `base.Chunk` promises."""

from typing import Any

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.call_places import argument_text
from openai_proxy.dialects.chat.calls import CallFold
from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.chat.finish import finish_of, unknown_word


def is_plain_text(chunk: Any) -> bool:
    """True for a chunk with only text in its delta that is tidy already: nearly every chunk."""
    if type(chunk) is not dict or "error" in chunk:
        return False
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1:
        return False
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason", "") is not None or "native_finish_reason" in choice:
        return False
    delta = choice.get("delta")
    if type(delta) is not dict or type(choice.get("index")) is not int:
        return False
    alone = len(delta) == 1 or (len(delta) == 2 and "role" in delta)
    return alone and type(delta.get("content")) is str


class Tidy:
    """The state of one answer: its tool calls, whose identity may need repair, and how its choices ended.

    A call is announced when its first argument arrives, another call begins or the answer ends: until then its name may
    still arrive in fragments.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Calls] = {}
        self._ends: dict[int, str] = {}  # choice -> its finish_reason; "" for an unknown one

    @property
    def finished(self) -> bool:
        """True once a choice has ended."""
        return any(self._ends.values())

    def chunk(self, raw: Any) -> Chunk | None:
        """`raw` made tidy: itself if it is tidy already; None if it contains nothing."""
        if not isinstance(raw, dict):
            return None
        choices = raw.get("choices")
        if "error" in raw or choices is None:
            error = error_of(raw)
            if error is not None:
                return {"error": error}
        if is_plain_text(raw):
            return raw
        made: list[dict[str, Any]] = []
        for place, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                made.append(self._choice(choice, place))
        if not made and not isinstance(raw.get("usage"), dict):
            return None
        return {**raw, "choices": made}

    def close(self) -> list[Chunk]:
        """What the end of the stream completes: a finish for choices whose last finish_reason is unknown."""
        odd = [index for index, end in self._ends.items() if not end]
        for index in odd:
            self._ends[index] = "stop"
        return [{"choices": [self._ended(index, {}, "stop")]} for index in odd]

    def _choice(self, choice: dict[str, Any], place: int) -> dict[str, Any]:
        index = choice.get("index")
        index = index if type(index) is int and index >= 0 else place
        piece = choice["delta"] if "delta" in choice else choice.get("message")
        delta = self._delta(index, piece) if isinstance(piece, dict) else {}
        reason = finish_of(choice)
        if reason is None:
            if unknown_word(choice):
                self._ends.setdefault(index, "")
            elif not self._ends.get(index, "."):
                del self._ends[index]  # it was not the last one after all
        else:
            self._ends[index] = reason
            delta = self._ended(index, delta, reason)["delta"]
        members = {name: value for name, value in choice.items() if name not in ("delta", "message")}
        return {**members, "index": index, "delta": delta, "finish_reason": reason}

    def _ended(self, index: int, delta: dict[str, Any], reason: str) -> dict[str, Any]:
        calls = self._calls.get(index)
        if calls is not None and (rest := calls.announce_all()):
            delta = {**delta, "tool_calls": [*delta.get("tool_calls", ()), *rest]}
        return {"index": index, "delta": delta, "finish_reason": reason}

    def _delta(self, index: int, piece: dict[str, Any]) -> dict[str, Any]:
        delta = {
            name: value
            for name, value in piece.items()
            if value is not None and name not in ("content", "tool_calls", "function_call", "refusal")
        }
        content, thought = text_of(piece.get("content"))
        if content or isinstance(piece.get("content"), str):
            delta["content"] = content
        thought = next((piece[n] for n in ("reasoning_content", "reasoning") if piece.get(n)), thought)
        if isinstance(thought, str) and thought:
            delta["reasoning_content"] = thought
        else:
            delta.pop("reasoning_content", None)
        if isinstance(piece.get("refusal"), str):
            delta["refusal"] = piece["refusal"]
        entries = piece.get("tool_calls")
        legacy = piece.get("function_call")
        if isinstance(legacy, dict):
            entries = [{"index": 0, "function": legacy}]
        if isinstance(entries, list) and entries:
            calls = self._calls.get(index)
            if calls is None:
                calls = self._calls[index] = _Calls()
            made = calls.entries(entries)
            if made:
                delta["tool_calls"] = made
        return delta


class _Calls:
    """The tool calls of one choice on their way out."""

    def __init__(self) -> None:
        self._fold = CallFold()
        self._announced: set[int] = set()

    def entries(self, entries: list[Any]) -> list[dict[str, Any]]:
        """Tidy entries for those of one delta."""
        made: list[dict[str, Any]] = []
        for entry in entries:
            if not isinstance(entry, dict):
                continue
            at = self._fold.feed(entry)
            for other in range(at):
                self._announce(other, made)
            function = entry.get("function")
            piece = argument_text(function.get("arguments")) if isinstance(function, dict) else ""
            if at not in self._announced:
                if self._fold.arguments(at) or "custom" in entry:
                    self._announce(at, made)
                continue
            rest = {
                name: value
                for name, value in entry.items()
                if name not in ("id", "type", "index", "function") and value is not None
            }
            if piece:
                rest["function"] = {"arguments": piece}
            if rest:
                made.append({"index": at, **rest})
        return made

    def announce_all(self) -> list[dict[str, Any]]:
        """The entries of calls that are not announced yet, at the end of the answer."""
        made: list[dict[str, Any]] = []
        for at in range(len(self._fold)):
            if at not in self._announced:
                self._announced.add(at)
                made.append({"index": at, **self._fold.call(at)})
        return made

    def _announce(self, at: int, made: list[dict[str, Any]]) -> None:
        if at not in self._announced:
            self._announced.add(at)
            made.append({"index": at, **self._fold.begun(at)})


def as_chunk(completion: dict[str, Any]) -> Chunk:
    """A whole, tidy `completion` as one chunk."""
    choices = []
    for choice in completion["choices"]:
        message = dict(choice["message"])
        if message.get("tool_calls"):
            message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]
        delta = {name: value for name, value in message.items() if value is not None}
        rest = {name: value for name, value in choice.items() if name != "message"}
        choices.append({**rest, "delta": delta})
    return {**completion, "object": "chat.completion.chunk", "choices": choices}
