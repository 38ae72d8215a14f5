"""Ollama's answers as chat chunks. Lines of JSON, cut anywhere. Shapes: https://docs.ollama.com/api/chat

Counts and durations go into the last chunk: `usage`, and `timings` as llama.cpp's server names them (milliseconds).
"""

import time
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.calls import new_call_id
from openai_proxy.dialects.chat.chunks import completion, new_id
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated

MAX_LINE: Final = 32 << 20
"""Bytes of one line. Longer than any answer: such a stream is not an answer."""

_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "invalid_request_error",
    429: "rate_limit_error",
}  # fmt: skip


class OllamaReader:
    """Reads one answer for a request to `model`."""

    def __init__(self, model: str) -> None:
        self._id = new_id()
        self._model = model
        self._created = int(time.time())
        self._rest = bytearray()  # the line whose end has not come
        self._calls = 0
        self._started = False
        self.ended = False

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that `data` completes. Raises UpstreamInvalid for what is no line of an answer."""
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
            if line and not self.ended:
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

    def _line(self, line: bytes, made: list[Chunk]) -> None:
        try:
            document = json_text.loads(line, exact=b'"arguments"' in line)
            if "error" in document:
                self.ended = True
                made.append({"error": _error(None, document["error"])})
                return
            message = _message(document)
            if self._started and len(message) == 2 and "role" in message and len(document) == 4:
                text = message["content"]
                if type(text) is str and document["done"] is False:
                    if text:
                        made.append(self._chunk({"content": text}))  # nearly every line
                    return
            delta = self._delta(message)
            done = document.get("done") is True
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UpstreamInvalid("The provider sent a line that is not understood.") from None
        if not self._started:
            self._started = True
            delta = {"role": "assistant", "content": "", **delta}
        if delta or document.get("logprobs"):
            made.append(self._chunk(delta))
            if document.get("logprobs"):
                made[-1]["choices"][0]["logprobs"] = {"content": document["logprobs"]}
        if done:
            self.ended = True
            made.append({**self._chunk({}), "choices": [_finished(document, self._calls)]})
            made.append({**self._chunk({}), "choices": [], **_metrics(document)})

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
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        }

    def whole(self, data: bytes) -> dict[str, Any]:
        """A whole answer as a `chat.completion`, or `{"error": …}`. Raises UpstreamInvalid and UpstreamTruncated."""
        if b"\n{" in data:
            return self._folded(data)
        try:
            document = json_text.loads(data)
            if "error" in document:
                return {"error": _error(None, document["error"])}
            answer = _message(document)
            message: dict[str, Any] = {"role": "assistant", "content": answer.get("content") or ""}
            if answer.get("thinking"):
                message["reasoning_content"] = answer["thinking"]
            calls = _calls(answer.get("tool_calls") or ())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UpstreamInvalid("The provider sent an answer that is not understood.") from None
        if calls:
            message["tool_calls"] = calls
            message["content"] = message["content"] or None
        logprobs = {"content": document["logprobs"]} if document.get("logprobs") else None
        finish = _finished(document, len(calls))["finish_reason"]
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}
        return {**completion(self._id, self._model, [choice]), **_metrics(document)}

    def _folded(self, data: bytes) -> dict[str, Any]:
        """The completion that the lines of a stream make."""
        fold = MessageFold()
        for made in [*self.feed(data), *self.end()]:
            if "error" in made:
                return {"error": made["error"]}
            fold.feed(made)
        return fold.completion()

    def error(self, status: int, data: bytes) -> dict[str, Any]:
        """An error answer as the chat API's error object; `message` is "" where there are no words."""
        return error_object(status, data)


def _message(document: dict[str, Any]) -> dict[str, Any]:
    """The message of a line; those of /api/generate have its members at their root. Raises KeyError."""
    if "response" in document:
        members = {"role": "assistant", "content": document["response"], "thinking": document.get("thinking")}
        return {name: value for name, value in members.items() if value is not None}
    return dict(document["message"])


def error_object(status: int, data: bytes) -> dict[str, Any]:
    """See AnswerReader.error."""
    try:
        document = json_text.loads(data)
    except ValueError:
        document = None
    text = document.get("error") if isinstance(document, dict) else None
    return _error(status, text)


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
    """`usage` and `timings` of the last line. A count that is missing is 0: the prompt was in the server's cache."""
    prompt, answer = document.get("prompt_eval_count") or 0, document.get("eval_count") or 0
    made: dict[str, Any] = {
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    }
    timings: dict[str, Any] = {}
    for member, duration in _DURATIONS.items():
        if document.get(duration):
            timings[member] = document[duration] / 1_000_000
    for count, milliseconds, rate in (("prompt", "prompt_ms", prompt), ("predicted", "predicted_ms", answer)):
        if milliseconds in timings:
            timings[f"{count}_n"] = rate
            timings[f"{count}_per_second"] = rate * 1000 / timings[milliseconds]
    return {**made, "timings": timings} if timings else made


_DURATIONS: Final = {
    "total_ms": "total_duration",
    "load_ms": "load_duration",
    "prompt_ms": "prompt_eval_duration",
    "predicted_ms": "eval_duration",
}


def _error(status: int | None, text: Any) -> dict[str, Any]:
    message = text if isinstance(text, str) and text else None
    if isinstance(text, dict) and isinstance(text.get("message"), str):
        message = text["message"]
    code: str | int | None = status
    if status == 404 and message is not None and "not found" in message:
        code = "model_not_found"
    kind = _TYPES.get(status or 0, "api_error")
    return {"message": message or "", "type": kind, "param": None, "code": code}
