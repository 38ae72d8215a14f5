"""Collects what answers say (text, reasoning, calls, usage) without keeping their chunks: for records.

A record needs no tidy chunks, and streams are collected in bulk: a reader of chunks would double the cost of each. So
this is the other half of what is known about the shape of the API's answers, beside `fold` and `tidy`. Nothing is
required: an event of another shape adds nothing.
https://platform.openai.com/docs/api-reference/chat/streaming, …/completions
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from openai_proxy.dialects.chat.call_places import argument_text
from openai_proxy.dialects.chat.content import text_of

_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")
BESIDE_CONTENT: Final = (*_TEXTS[1:], "tool_calls", "function_call")
"""Members of a message or delta, other than its content, of which something is collected."""


class Collected(Protocol):
    """An answer as far as it was received."""

    finish_reason: str | None
    usage: dict[str, Any] | None
    error: Any
    model: str | None
    id: str | None
    malformed: int

    def add_text(self, text: str) -> None:
        """More of the answer itself."""
        ...

    def add_reasoning(self, text: str) -> None:
        """More of the model's reasoning."""
        ...

    def chat_call(self, choice: int, entry: dict[str, Any]) -> dict[str, Any]:
        """The tool call that `entry` of a delta's `tool_calls` begins or continues."""
        ...

    def add_arguments(self, call: dict[str, Any], text: str) -> None:
        """More of a call's arguments."""
        ...


def collect_common(answer: Collected, event: dict[str, Any]) -> None:
    """What every kind of answer has around its text: usage, error, model, id."""
    usage = event.get("usage")
    if not usage and isinstance(event.get("x_groq"), dict):
        usage = event["x_groq"].get("usage")  # Groq's streams: https://console.groq.com/docs/text-chat
    if usage and isinstance(usage, dict):
        answer.usage = usage
    error = event.get("error")
    if error:
        answer.error = error
    model = event.get("model")
    if model and answer.model is None and isinstance(model, str):
        answer.model = model
        if isinstance(event.get("id"), str):
            answer.id = event["id"]


def chat_event(answer: Collected, event: Any) -> None:
    """One chat.completion.chunk. Any of them may carry usage (null or not), and a finish may come twice."""
    try:
        choices = event["choices"]
        if event.get("usage") or answer.model is None or not choices:
            collect_common(answer, event)
        for choice in choices:
            delta = choice.get("delta")
            if delta:
                text = delta.get("content")
                if text:
                    _add_content(answer, text)
                if len(delta) > 1 or not text:
                    _rest_of_delta(answer, choice.get("index") or 0, delta)
            finish = choice.get("finish_reason")
            if finish:
                answer.finish_reason = str(finish)
                collect_common(answer, event)
    except (KeyError, TypeError, AttributeError):
        # Not a chunk: an error event, or something unknown.
        if isinstance(event, dict):
            collect_common(answer, event)


def _add_content(answer: Collected, content: Any) -> None:
    if isinstance(content, str):
        answer.add_text(content)
    else:
        text, thought = text_of(content)  # a list of parts, as Mistral's thinking models send it
        answer.add_text(text)
        answer.add_reasoning(thought)


def _rest_of_delta(answer: Collected, choice: int, delta: dict[str, Any]) -> None:
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if thought and isinstance(thought, str):
        answer.add_reasoning(thought)
    refusal = delta.get("refusal")
    if refusal and isinstance(refusal, str):
        answer.add_text(refusal)
    for call in delta.get("tool_calls") or ():
        _call_delta(answer, choice, call)
    legacy = delta.get("function_call")
    if legacy:
        _call_delta(answer, choice, {"index": 0, "function": legacy})


def _call_delta(answer: Collected, choice: int, call: dict[str, Any]) -> None:
    known = answer.chat_call(choice, call)
    function = call.get("function") or call.get("custom") or {}
    text = argument_text(function.get("arguments") or function.get("input"))
    if text and (text != "null" or known["arguments"]):
        answer.add_arguments(known, text)


def chat_whole(answer: Collected, body: Any) -> None:
    """A chat.completion, whose messages are treated as deltas."""
    if not isinstance(body, dict):
        return
    collect_common(answer, body)
    choices = body.get("choices")
    for place, choice in enumerate(choices if isinstance(choices, list) else ()):
        try:
            message = choice["message"]
            text = message.get("content")
            if text:
                _add_content(answer, text)
            calls = message.get("tool_calls")
            if calls:
                message = {**message, "tool_calls": [{**call, "index": n} for n, call in enumerate(calls)]}
            _rest_of_delta(answer, place, message)
            if choice.get("finish_reason"):
                answer.finish_reason = str(choice["finish_reason"])
        except (KeyError, TypeError, AttributeError):
            answer.malformed += 1


def completion_event(answer: Collected, event: Any) -> None:
    """One text_completion, whole or partial: both have the text in the same place."""
    if not isinstance(event, dict):
        return
    collect_common(answer, event)
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            if isinstance(choice.get("text"), str):
                answer.add_text(choice["text"])
            if choice.get("finish_reason"):
                answer.finish_reason = str(choice["finish_reason"])


class OnlyText(NamedTuple):
    """The one text of a chunk that has nothing else to collect: chunks that differ only in it can be read in bulk."""

    member: str  # its name
    text: str
    into: object  # what `add` adds to: the same for chunks that continue each other
    add: Callable[[str], None]


def only_text(answer: Collected, event: Any) -> OnlyText | None:
    """The only text of a chunk of `answer`; None for any other chunk."""
    try:
        (choice,) = event["choices"]
        delta = choice["delta"]
        if choice.get("finish_reason") or event.get("usage") or choice.get("index"):
            return None
        texts = [key for key in _TEXTS if delta.get(key)]
        calls = delta.get("tool_calls")
        if not calls:
            (key,) = texts
            return OnlyText(key, delta[key], key, _sink(answer, key))
        (call,) = calls
        if texts or call.get("id") or call["function"].get("name"):
            return None
        index = call["index"]

        def add(text: str) -> None:
            answer.add_arguments(answer.chat_call(0, {"index": index}), text)

        return OnlyText("arguments", call["function"]["arguments"], index, add)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _sink(answer: Collected, member: str) -> Callable[[str], None]:
    return answer.add_text if member in ("content", "refusal") else answer.add_reasoning
