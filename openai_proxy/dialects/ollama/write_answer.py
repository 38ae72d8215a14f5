"""Writes a chat answer as Ollama does: JSON lines while it is generated, or one object.

A line holds a piece of text or thinking, or complete tool calls with their arguments as an object; the last one has
`done`, its reason, token counts, and durations in nanoseconds. Shapes: https://docs.ollama.com/api/chat
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.content import text_and_reasoning
from openai_proxy.dialects.odd_input import in_own_format, with_member
from openai_proxy.dialects.ollama.memory import remember
from openai_proxy.dialects.tool_calls import WholeCalls, arguments_object
from openai_proxy.dialects.tool_names import ToolNames
from openai_proxy.errors import UpstreamInvalid


@dataclass(frozen=True, slots=True)
class OllamaDetails:
    """`kind`: the endpoint. `thinking`: whether thinking is shown. `names`: of the tools.

    `memory`: the conversation carried by a generate request, to be carried on by its answer.
    """

    kind: Literal["chat", "generate"]
    thinking: bool = True
    names: ToolNames = field(default_factory=ToolNames)
    memory: tuple[dict[str, Any], ...] = ()


STREAM_TYPE: Final = b"application/x-ndjson"

_DONE_REASONS: Final = {"tool_calls": "stop", "function_call": "stop"}
_NOTHING: Final = frozenset({0, "0", "0s", "0m", "0h"})
"""Values of `keep_alive` that unload a model."""


_NAMES: Final = {
    "max_tokens": "options.num_predict", "stop": "options.stop", "temperature": "options.temperature",
    "top_p": "options.top_p", "response_format": "format", "reasoning_effort": "think",
}  # fmt: skip
"""Chat API members that have another name here."""


class OllamaWriter:
    """Writes one answer with `model` as its model."""

    stream_type = STREAM_TYPE

    def __init__(self, details: OllamaDetails, model: str) -> None:
        self._chat = details.kind == "chat"
        self._thinking = details.thinking
        self._memory = details.memory
        self._names = details.names
        self._head = b'{"model":' + json_text.dumps(model) + b',"created_at":"'
        self._before = b'","message":{"role":"assistant","content":' if self._chat else b'","response":'
        self._after = b'},"done":false' if self._chat else b',"done":false'
        self._calls = WholeCalls()
        self._texts: list[str] = []  # of a generate request
        self._clock = Clock()
        self._timings: Mapping[str, Any] = {}
        self._usage: Mapping[str, Any] = {}
        self._finish: Any = None

    def chunk(self, chunk: Chunk) -> bytes:
        """The lines for `chunk`. Raises UpstreamInvalid for a tool call that cannot be written."""
        usage = chunk.get("usage")
        if usage:
            self._usage = usage
        if "timings" in chunk:
            self._timings = chunk["timings"] or {}
        choices = chunk.get("choices")
        if not choices:
            return self.error(chunk["error"]) if "error" in chunk else b""
        choice = choices[0]
        if choice.get("index"):
            return b""  # a second choice, which this API cannot request
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta")
        if not delta:
            return b"" if self._finish else self.heartbeat()
        logprobs = choice.get("logprobs")
        content = delta.get("content")
        if type(content) is str and len(delta) == 1 and not logprobs:
            return self._line(content) if content else b""  # nearly every chunk
        return self._delta(delta, (logprobs or {}).get("content"))

    def _delta(self, delta: dict[str, Any], logprobs: Any) -> bytes:
        text, thought = text_and_reasoning(delta)
        made = b""
        if thought and self._thinking:
            made += self._line("", thinking=thought)
        if text or logprobs:
            made += self._line(text, logprobs=logprobs)
        if delta.get("tool_calls"):
            made += self._tools(self._calls.feed(delta["tool_calls"]))
        return made

    def _line(self, text: str, *, thinking: str = "", calls: Any = None, logprobs: Any = None) -> bytes:
        self._clock.start_of_answer()
        if not self._chat and text:
            self._texts.append(text)
        line = self._head + self._clock.now() + self._before + json_text.dumps(text)
        if thinking:
            line += b',"thinking":' + json_text.dumps(thinking)
        if calls:
            line += b',"tool_calls":' + json_text.dumps(calls)
        line += self._after
        if logprobs:
            line += b',"logprobs":' + json_text.dumps(logprobs)
        return line + b"}\n"

    def _tools(self, calls: list[dict[str, Any]]) -> bytes:
        if not calls:
            return b""
        first = len(self._calls) - len(calls)
        return self._line("", calls=[self._call(call, first + at) for at, call in enumerate(calls)])

    def heartbeat(self) -> bytes:
        """An empty piece of text: a blank line would break clients."""
        return self._head + self._clock.now() + self._before + b'""' + self._after + b"}\n"

    def end(self) -> bytes:
        """The calls that are still open, and the line with `done`."""
        made = self._tools(self._calls.flush())
        line = self._head + self._clock.now() + self._before + b'""' + (b"}" if self._chat else b"")
        return made + line + b"," + json_text.dumps(self._ending("".join(self._texts)))[1:] + b"\n"

    def error(self, error: Mapping[str, Any]) -> bytes:
        """The error line."""
        return error_body(error) + b"\n"

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        """The answer as one object. Raises UpstreamInvalid if `completion` holds no answer."""
        try:
            choice = completion["choices"][0]
            message = choice["message"]
            text, thought = text_and_reasoning(message)
            calls = [self._call(call, at) for at, call in enumerate(message.get("tool_calls") or ())]
            logprobs = (choice.get("logprobs") or {}).get("content")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise UpstreamInvalid("The provider sent an answer that is not understood.") from None
        self._finish = choice.get("finish_reason")
        self._usage = completion.get("usage") or {}
        self._timings = completion.get("timings") or {}
        extras: dict[str, Any] = {"thinking": thought} if thought and self._thinking else {}
        if calls:
            extras["tool_calls"] = calls
        line = self._head + self._clock.now() + self._before + json_text.dumps(text)
        if extras:
            line += b"," + json_text.dumps(extras)[1:-1]
        ending = self._ending(text)
        if logprobs:
            ending["logprobs"] = logprobs
        return line + (b"}," if self._chat else b",") + json_text.dumps(ending)[1:]

    def _call(self, call: dict[str, Any], index: int) -> dict[str, Any]:
        function = call["function"]
        name = self._names.original(function["name"])
        arguments = arguments_object(function.get("arguments"))
        return {"id": call.get("id"), "function": {"index": index, "name": name, "arguments": arguments}}

    def _ending(self, text: str) -> dict[str, Any]:
        finish = self._finish if isinstance(self._finish, str) else "stop"
        made: dict[str, Any] = {"done": True, "done_reason": _DONE_REASONS.get(finish, finish)}
        if self._memory and (context := remember([*self._memory, {"role": "assistant", "content": text}])) is not None:
            made["context"] = context
        made.update(self._clock.durations(self._timings))
        for name, count in (("prompt_eval_count", "prompt_tokens"), ("eval_count", "completion_tokens")):
            if self._usage.get(count):
                made[name] = self._usage[count]
        return made


class Clock:
    """The time of day in Ollama's format, and the duration of an answer, in nanoseconds."""

    def __init__(self) -> None:
        self._begin = time.monotonic_ns()
        self._first = 0  # when the answer's first piece arrived
        self._second = -1  # the second that `_prefix` belongs to
        self._prefix = b""

    def now(self) -> bytes:
        """The time of day, in UTC, with nanoseconds (RFC 3339)."""
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return b"%b.%09dZ" % (self._prefix, nanoseconds)

    def start_of_answer(self) -> None:
        """Note the arrival of the answer's first piece; later calls change nothing."""
        if not self._first:
            self._first = time.monotonic_ns()

    def durations(self, timings: Mapping[str, Any]) -> dict[str, int]:
        """The durations: from the provider's `timings` (llama.cpp's shape, milliseconds), else as measured here."""
        end = time.monotonic_ns()
        first = self._first or end
        seen = {
            "total_duration": end - self._begin,
            "load_duration": 0,
            "prompt_eval_duration": first - self._begin,
            "eval_duration": end - first,
        }
        for name, member in _TIMINGS.items():
            value = timings.get(member)
            if isinstance(value, int | float):
                seen[name] = round(value * 1_000_000)
        return seen


_TIMINGS: Final = {
    "total_duration": "total_ms",
    "load_duration": "load_ms",
    "prompt_eval_duration": "prompt_ms",
    "eval_duration": "predicted_ms",
}


def loaded(kind: str, model: str, keep_alive: Any) -> bytes:
    """The answer to a request that only loads or unloads `model`."""
    body = {"message": {"role": "assistant", "content": ""}} if kind == "chat" else {"response": ""}
    unload = isinstance(keep_alive, str | int | float) and keep_alive in _NOTHING
    created = Clock().now().decode()
    reason = "unload" if unload else "load"
    return json_text.dumps({"model": model, "created_at": created, **body, "done": True, "done_reason": reason})


def error_body(error: Mapping[str, Any]) -> bytes:
    """The body of an error answer."""
    message = with_member(in_own_format(error, _NAMES))
    text = message if isinstance(message, str) and message else "The provider reported an error."
    return json_text.dumps({"error": text})
