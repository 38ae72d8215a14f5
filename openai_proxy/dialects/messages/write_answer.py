"""A chat answer as the Messages API gives it: whole, as events, and as errors.

The vendor's SDK passes over events without a name, allows one open block at a time, and wants indices without gaps:
https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from typing import Any, Final

import orjson

from openai_proxy.dialects.chat.chunks import new_id
from openai_proxy.dialects.chat.deltas import CallFold
from openai_proxy.dialects.chat.fold import text_of
from openai_proxy.dialects.messages.content import THINKING_FORMAT, thinking_blocks
from openai_proxy.dialects.sse import DONE, EventSplitter
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated

_STOP: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_KIND_OF_STATUS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_KINDS: Final = frozenset(_KIND_OF_STATUS.values())
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'


def stop_reason(finish: Any, *, called: bool) -> str:
    """The stop_reason for a finish_reason. Some models end with `stop` although they `called` a tool."""
    reason = _STOP.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    return "tool_use" if called and reason == "end_turn" else reason


def usage_of(usage: Any) -> dict[str, Any]:
    """Messages usage from chat usage, which counts cached tokens among the prompt's."""
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details") or {}
    read = details.get("cached_tokens") or 0
    written = details.get("cache_write_tokens") or 0
    return {
        "input_tokens": max((usage.get("prompt_tokens") or 0) - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.get("completion_tokens") or 0,
    }


def to_message(completion: dict[str, Any], model: str) -> dict[str, Any]:
    """A whole chat.completion as a message that names `model`. Raises UpstreamInvalid if it has no choice."""
    try:
        choice = completion["choices"][0]
        message = choice["message"]
        content: list[dict[str, Any]] = thinking_blocks(message)
        text, thought = text_of(message.get("content"))
        thought = message.get("reasoning_content") or message.get("reasoning") or thought
        if thought and not content:
            content.append({"type": "thinking", "thinking": thought, "signature": ""})
        if text or message.get("refusal"):
            content.append({"type": "text", "text": text or message["refusal"]})
        calls = message.get("tool_calls") or ()
        for call in calls:
            function = call["function"]
            arguments = orjson.loads(function.get("arguments") or "{}")
            content.append({"type": "tool_use", "id": call.get("id"), "name": function["name"], "input": arguments})
    except (KeyError, IndexError, TypeError, AttributeError, orjson.JSONDecodeError):
        raise UpstreamInvalid("The provider sent an answer that is not understood.") from None
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason(choice.get("finish_reason"), called=bool(calls)),
        "stop_sequence": None,
        "usage": usage_of(completion.get("usage")),
    }


def to_error(status: int, body: bytes) -> bytes:
    """An error answer of the chat API in the Messages API's shape; the text of any other shape is its message."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    return orjson.dumps(error_object(error if error is not None else body.decode(errors="replace")[:500], status))


def error_object(error: Any, status: int | None = None) -> dict[str, Any]:
    """`{"type": "error", "error": {"type", "message"}}` from an OpenAI error member, or a text."""
    given = error if isinstance(error, dict) else {"message": error}
    code = given.get("code")
    status = code if status is None and isinstance(code, int) else status
    kind = given.get("type")
    if kind not in _KINDS:
        kind = _KIND_OF_STATUS.get(status or 0, "api_error")
    message = given.get("message")
    text = message if isinstance(message, str) and message else "The provider reported an error."
    return {"type": "error", "error": {"type": kind, "message": text}}


class MessageStream:
    """Chunks in, Messages events out. `feed` bytes as they come, `end` when they have ended."""

    def __init__(self, model: str, *, input_tokens: int = 0) -> None:
        self._model = model
        self._input_tokens = input_tokens  # an estimate for message_start; the true count comes at the end
        self._events = EventSplitter()
        self._started = False
        self._open = ""  # the kind of the open block: "", text, thinking, call
        self._index = -1  # of the open or last block
        self._calls = CallFold()
        self._current = -1  # the call whose block is open
        self._told: set[int] = set()  # calls that had their block
        self._finish: str | None = None
        self._usage: Any = None
        self.ended = False
        self.failed = False

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes. Raises UpstreamInvalid for what is no chat stream."""
        made: list[bytes] = []
        for event in self._events.feed(data):
            self._take(event.data, made)
        return b"".join(made)

    def end(self) -> bytes:
        """What the end of the stream completes. Raises UpstreamTruncated if the answer has not ended."""
        made: list[bytes] = []
        try:
            for event in self._events.flush():
                self._take(event.data, made)
        except UpstreamInvalid:
            made.clear()  # the first half of a chunk
        if not self.ended:
            if self._finish is None:
                raise UpstreamTruncated("The provider broke off in the middle of its answer.")
            self._stop(made)
        return b"".join(made)

    def _take(self, data: bytes, made: list[bytes]) -> None:
        if self.ended:
            return
        if data == DONE:
            self._stop(made)
            return
        try:
            chunk = orjson.loads(data)
            if chunk.get("error"):
                self.ended = self.failed = True
                made.append(_event("error", error_object(chunk["error"])))
                return
            self._chunk(chunk, made)
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
            raise UpstreamInvalid("The provider sent an event that is not understood.") from None

    def _chunk(self, chunk: dict[str, Any], made: list[bytes]) -> None:
        if not self._started:
            self._start(made)
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        if not choices:
            return
        before = len(made)
        choice = choices[0]
        delta = choice.get("delta") or {}
        self._delta(delta, made)
        self._finish = choice.get("finish_reason") or self._finish
        if len(made) == before and not delta and self._finish is None:
            made.append(_PING)  # a heartbeat: work goes on behind the scenes, and nobody should lose patience

    def _delta(self, delta: dict[str, Any], made: list[bytes]) -> None:
        content = delta.get("content")
        text, thought = (content, "") if isinstance(content, str) else text_of(content)
        thought = delta.get("reasoning_content") or delta.get("reasoning") or thought
        if thought:
            self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""}, made)
            self._piece({"type": "thinking_delta", "thinking": thought}, made)
        for detail in delta.get("reasoning_details") or ():
            self._reasoning(detail, made)
        text = text or delta.get("refusal") or ""
        if text:
            self._block("text", {"type": "text", "text": ""}, made)
            self._piece({"type": "text_delta", "text": text}, made)
        for entry in delta.get("tool_calls") or ():
            self._call(entry, made)

    def _reasoning(self, detail: dict[str, Any], made: list[bytes]) -> None:
        if not str(detail.get("format") or THINKING_FORMAT).startswith(THINKING_FORMAT):
            return
        if detail.get("type") == "reasoning.encrypted":
            self._close(made)
            self._block("hidden", {"type": "redacted_thinking", "data": detail.get("data")}, made)
            self._close(made)
        elif detail.get("signature"):
            self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""}, made)
            self._piece({"type": "signature_delta", "signature": detail["signature"]}, made)
            self._close(made)  # a signature ends its block: the next thought is another one

    def _call(self, entry: dict[str, Any], made: list[bytes]) -> None:
        at = self._calls.feed(entry)
        piece = (entry.get("function") or {}).get("arguments")
        if piece and not isinstance(piece, str):
            piece = orjson.dumps(piece).decode()
        if at == self._current and self._open == "call":
            if piece:
                self._piece({"type": "input_json_delta", "partial_json": piece}, made)
            return
        if at in self._told and piece and piece.strip():
            raise UpstreamInvalid("The provider went on with a tool call that had ended.")
        if at in self._told or not self._calls.name(at):
            return
        # Only one block is open at a time. A call that began before the open one is whole waits for the end.
        if self._open != "call" or self._calls.is_whole(self._current):
            self._tell(at, made)

    def _tell(self, at: int, made: list[bytes]) -> None:
        self._told.add(at)
        self._close(made)
        call = self._calls.call(at)
        block = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}}
        self._block("call", block, made)
        self._current = at
        if arguments := self._calls.arguments(at):
            self._piece({"type": "input_json_delta", "partial_json": arguments}, made)

    def _start(self, made: list[bytes]) -> None:
        self._started = True
        message: dict[str, Any] = {
            "id": new_id("msg_"), "type": "message", "role": "assistant", "model": self._model, "content": [],
            "stop_reason": None, "stop_sequence": None,
            "usage": {**usage_of(None), "input_tokens": self._input_tokens},
        }  # fmt: skip
        made.append(_event("message_start", {"type": "message_start", "message": message}))

    def _block(self, kind: str, block: dict[str, Any], made: list[bytes]) -> None:
        if self._open == kind:
            return
        self._close(made)
        self._open = kind
        self._index += 1
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        made.append(_event("content_block_start", start))

    def _piece(self, delta: dict[str, Any], made: list[bytes]) -> None:
        made.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
            % (self._index, orjson.dumps(delta))
        )

    def _close(self, made: list[bytes]) -> None:
        if self._open:
            self._open = ""
            made.append(_event("content_block_stop", {"type": "content_block_stop", "index": self._index}))

    def _stop(self, made: list[bytes]) -> None:
        self.ended = True
        if not self._started:
            self._start(made)
        for at in range(len(self._calls)):
            if at not in self._told:
                self._tell(at, made)
        self._close(made)
        reason = stop_reason(self._finish, called=bool(self._told))
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = usage_of(self._usage) if self._usage else {"output_tokens": 0}
        made.append(_event("message_delta", {"type": "message_delta", "delta": delta, "usage": usage}))
        made.append(_event("message_stop", {"type": "message_stop"}))


def _event(name: str, payload: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(payload))
