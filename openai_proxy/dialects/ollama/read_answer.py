"""Ollama's answers as chat chunks. JSON lines, cut anywhere. Shapes: https://docs.ollama.com/api/chat

Counts and durations go into the last chunk: `usage`, and `timings` with llama.cpp's names (milliseconds).
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk, ReportedValues
from openai_proxy.dialects.chat.calls import new_call_id
from openai_proxy.dialects.chat.chunks import chunk, new_id, usage_of
from openai_proxy.dialects.chat.errors import error_in, error_of
from openai_proxy.dialects.event_reader import folded
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated

MAX_LINE: Final = 32 << 20
"""Bytes of one line. No real answer has longer ones."""


class OllamaReader:
    """Reads one answer for a request to `model`."""

    def __init__(self, model: str) -> None:
        self._id = new_id()
        self._model = model
        self._created = int(time.time())
        self._rest = bytearray()  # the incomplete line
        self._calls = 0
        self._started = False
        self.ended = False
        self.own = ReportedValues()

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks completed by `data`. Raises UpstreamInvalid for a line that is not part of an answer."""
        if b"\n" not in data:
            self._keep(data)
            return []
        lines = data.split(b"\n")
        last = lines.pop()
        if self._rest:
            self._rest += lines[0]
            lines[0] = bytes(self._rest)
            self._rest.clear()
        made: list[Chunk] = []
        for line in lines:
            if line and not line.isspace() and not self.ended:
                self._line(line, made)
        self._keep(last)
        return made

    def end(self) -> list[Chunk]:
        """The chunks of a last line without its end. Raises UpstreamTruncated if the answer has not ended."""
        made: list[Chunk] = []
        if self._rest.strip() and not self.ended:
            try:
                self._line(bytes(self._rest), made)
            except UpstreamInvalid:
                made = []  # the first half of a line
        if not self.ended:
            raise UpstreamTruncated("The provider broke off in the middle of its answer.")
        return made

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > MAX_LINE:
            raise UpstreamInvalid(
                f"The provider sent a line of more than {MAX_LINE} bytes.", code="upstream_event_too_large"
            )

    def _line(self, line: bytes, chunks: list[Chunk]) -> None:
        try:
            event = json_text.loads(line, exact=b'"arguments"' in line)
        except ValueError:
            raise _not_understood("a line") from None
        self.read(event, chunks)

    def read(self, event: Any, chunks: list[Chunk]) -> None:
        """Add to `chunks` what one line makes. Raises UpstreamInvalid."""
        if self.ended:
            return
        try:
            if "error" in event:
                self.ended = True
                chunks.append({"error": _error_of(event["error"])})
                return
            message = _message(event)
            if self._started and len(message) == 2 and "role" in message and len(event) == 4:
                text = message["content"]
                if type(text) is str and event["done"] is False:
                    if text:
                        chunks.append(self._chunk({"content": text}))  # nearly every line
                    return
            delta = self._delta(message)
            done = event.get("done") is True
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _not_understood("a line") from None
        if not self._started:
            self._started = True
            self._model = self._model or str(event.get("model") or "")
            delta = {"role": "assistant", "content": "", **delta}
        if delta or event.get("logprobs"):
            chunks.append(self._chunk(delta))
            if event.get("logprobs"):
                chunks[-1]["choices"][0]["logprobs"] = {"content": event["logprobs"]}
        if done:
            self.ended = True
            self.own = _reported_values(event)
            chunks.append({**self._chunk({}), "choices": [_finished(event, self._calls)]})
            chunks.append({**self._chunk({}), "choices": [], **_metrics(event)})

    def _delta(self, message: dict[str, Any]) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if message.get("content"):
            delta["content"] = message["content"]
        if message.get("thinking"):
            delta["reasoning_content"] = message["thinking"]
        if message.get("tool_calls"):
            calls = _calls(message["tool_calls"])
            delta["tool_calls"] = [{"index": self._calls + at, **call} for at, call in enumerate(calls)]
            self._calls += len(calls)
        return delta

    def _chunk(self, delta: dict[str, Any]) -> Chunk:
        return chunk(self._id, self._model, delta, created=self._created)

    def whole(self, data: bytes) -> dict[str, Any]:
        """A whole answer as a `chat.completion`, or `{"error": …}`. Raises UpstreamInvalid and UpstreamTruncated."""
        if b"\n{" in data:
            return folded([*self.feed(data), *self.end()])
        try:
            document = json_text.loads(data)
        except ValueError:
            raise _not_understood("an answer") from None
        return self.completion(document)

    def completion(self, document: Any) -> dict[str, Any]:
        """The same for a parsed answer."""
        if not isinstance(document, dict):
            raise _not_understood("an answer")
        made: list[Chunk] = []
        self.read({**document, "done": True}, made)
        return folded(made)

    def error(self, status: int, data: bytes) -> dict[str, Any]:
        """An error answer as the chat API's error object; `message` is "" if there is no text."""
        return error_object(status, data)


def _not_understood(what: str) -> UpstreamInvalid:
    return UpstreamInvalid(f"The provider sent {what} that is not understood.")


def _reported_values(document: dict[str, Any]) -> ReportedValues:
    return ReportedValues(finish=str(document.get("done_reason") or "stop"), usage=counts_in(document))


def counts_in(document: Any) -> dict[str, Any] | None:
    """Chat usage from the counts of an answer or of embeddings; None if there are none."""
    if not isinstance(document, dict) or document.keys().isdisjoint(("prompt_eval_count", "eval_count")):
        return None
    return dict(_metrics(document)["usage"])


def _message(document: dict[str, Any]) -> dict[str, Any]:
    """The message of a line; those of /api/generate have its members at the root. Raises KeyError."""
    if "response" in document:
        members = {"role": "assistant", "content": document["response"], "thinking": document.get("thinking")}
        return {name: value for name, value in members.items() if value is not None}
    return dict(document["message"])


def _calls(calls: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": call.get("id") or new_call_id(),
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json_text.text(call["function"].get("arguments") or {}),
            },
        }
        for call in calls
    ]


def _finished(document: dict[str, Any], calls: int) -> dict[str, Any]:
    reason = document.get("done_reason")
    finish = "length" if reason == "length" else "tool_calls" if calls else "stop"
    return {"index": 0, "delta": {}, "finish_reason": finish}


def _metrics(document: dict[str, Any]) -> dict[str, Any]:
    """`usage` and `timings` of the last line. A missing count is 0: the prompt was in the server's cache."""
    prompt, answer = _number(document.get("prompt_eval_count")), _number(document.get("eval_count"))
    made: dict[str, Any] = {"usage": usage_of(prompt, answer)}
    timings: dict[str, Any] = {}
    for member, duration in _DURATIONS.items():
        if nanoseconds := _number(document.get(duration)):
            timings[member] = nanoseconds / 1_000_000
    for count, milliseconds, rate in (("prompt", "prompt_ms", prompt), ("predicted", "predicted_ms", answer)):
        if milliseconds in timings:
            timings[f"{count}_n"] = rate
            timings[f"{count}_per_second"] = rate * 1000 / timings[milliseconds]
    return {**made, "timings": timings} if timings else made


def _number(value: Any) -> int:
    # A strange count must not cost the answer.
    return int(value) if type(value) in (int, float) and 0 < value < 1 << 63 else 0


_DURATIONS: Final = {
    "total_ms": "total_duration",
    "load_ms": "load_duration",
    "prompt_ms": "prompt_eval_duration",
    "predicted_ms": "eval_duration",
}


def error_object(status: int, data: bytes) -> dict[str, Any]:
    """See AnswerReader.error."""
    return _error(status, error_in(status, data))


def _error_of(error: Any) -> dict[str, Any]:
    return _error(None, error_of({"error": error or {}}) or {})


def _error(status: int | None, error: Mapping[str, Any]) -> dict[str, Any]:
    """`error`, an error object of the chat API, with a code: Ollama itself has none."""
    missing = status == 404 and "not found" in error["message"]
    return {**error, "code": "model_not_found" if missing else status}
