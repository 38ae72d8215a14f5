"""Writes a chat answer as the Messages API does: whole, as events, and as errors.

The vendor's SDK ignores events without a name, allows one open block at a time, and expects indices without gaps:
https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.calls import CallFold
from openai_proxy.dialects.chat.chunks import new_id
from openai_proxy.dialects.chat.content import text_and_reasoning
from openai_proxy.dialects.chat.deltas import merge, settle
from openai_proxy.dialects.messages.content import is_claudes, other_details, thinking_blocks
from openai_proxy.dialects.messages.tables import (
    ERROR_OF_STATUS,
    STATUS_OF_ERROR,
    messages_usage,
    stop_reason,
)
from openai_proxy.dialects.odd_input import in_own_format, with_member
from openai_proxy.dialects.packed_reasoning import pack
from openai_proxy.dialects.tool_names import ToolNames
from openai_proxy.errors import UpstreamInvalid

_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_THINKING: Final = {"type": "thinking", "thinking": "", "signature": ""}


_NAMES: Final = {
    "max_completion_tokens": "max_tokens", "stop": "stop_sequences", "response_format": "output_config.format",
    "reasoning_effort": "thinking",
}  # fmt: skip
"""Chat API members that have another name here."""


def to_message(
    completion: Mapping[str, Any], model: str, *, thoughts: bool = True, names: ToolNames | None = None
) -> dict[str, Any]:
    """A whole chat.completion as a message with `model` as its model, with or without the text of `thoughts`.

    `names`: those of the client's tools. Raises UpstreamInvalid if it has no choice.
    """
    original = names.original if names is not None else str
    try:
        choice = completion["choices"][0]
        message = choice["message"]
        content: list[dict[str, Any]] = thinking_blocks(message)
        if not thoughts:
            content = [{**block, "thinking": ""} if block["type"] == "thinking" else block for block in content]
        text, thought = text_and_reasoning(message)
        details = other_details(message)
        signature = pack(details) if details else ""  # reasoning that another provider's model must get back
        if thought and thoughts and not content:
            content.append({**_THINKING, "thinking": thought, "signature": signature})
        elif signature:
            content.append({"type": "redacted_thinking", "data": signature})
        if text:
            content.append({"type": "text", "text": text})
        calls = message.get("tool_calls") or ()
        for call in calls:
            function = call["function"]
            arguments = json_text.object_in(function.get("arguments"))
            if arguments is None and choice.get("finish_reason") != "length":
                raise TypeError
            # Truncated by the token limit: the stop_reason says so, and half an object is invalid.
            block = {"type": "tool_use", "id": call.get("id"), "name": original(function["name"]),
                     "input": arguments or {}}  # fmt: skip
            content.append(block)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise UpstreamInvalid("The provider sent an answer that is not understood.") from None
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason(choice.get("finish_reason"), called=bool(calls)),
        "stop_sequence": None,
        "usage": messages_usage(completion.get("usage")),
    }


def error_object(error: Mapping[str, Any], status: int | None = None) -> dict[str, Any]:
    """`{"type": "error", "error": {"type", "message"}}` from a chat error object, which may have a `status`.

    The original error code is in `details.error_code`.
    """
    code = error.get("code")
    if status is None and isinstance(code, int):
        status = code
    kind = error.get("type")
    if kind not in STATUS_OF_ERROR or (status is not None and STATUS_OF_ERROR[kind] // 100 != status // 100):
        kind = ERROR_OF_STATUS.get(status or 0, "api_error")
    elif status is not None and status < 500:
        kind = ERROR_OF_STATUS.get(status, kind)  # OpenAI reports every client error as an invalid request
    message = with_member(in_own_format(error, _NAMES))
    made: dict[str, Any] = {"type": kind, "message": message or "The provider reported an error."}
    if isinstance(code, str) and code != kind:
        made["details"] = {"error_code": code}
    return {"type": "error", "error": made}


def error_event(error: Mapping[str, Any]) -> bytes:
    """The event that ends a failed stream, even one begun by a provider."""
    return _event("error", error_object(error))


class MessagesWriter:
    """See base.AnswerWriter. `input_tokens` is an estimate for the start; the true count comes at the end.

    Without `thoughts`, a thinking block has only its signature: `thinking.display` was "omitted".
    """

    stream_type: ClassVar[bytes] = b"text/event-stream; charset=utf-8"

    def __init__(
        self, model: str, *, input_tokens: int = 0, thoughts: bool = True, names: ToolNames | None = None
    ) -> None:
        self._model = model
        self._names = names or ToolNames()
        self._others: dict[str, Any] = {}  # another provider's `reasoning_details` that no block has carried yet
        self._thoughts = thoughts
        self._input_tokens = input_tokens
        self._started = False
        self._open = ""  # the kind of the open block: "", text, thinking, hidden, call
        self._index = -1  # of the open or last block
        self._calls = CallFold()
        self._current = -1  # the call whose block is open
        self._written_calls: set[int] = set()  # calls whose block was written
        self._finish: str | None = None
        self._usage: Any = None

    def chunk(self, chunk: Chunk) -> bytes:
        """See base.AnswerWriter. Raises UpstreamInvalid for a call that continues after its end."""
        made: list[bytes] = []
        if not self._started:
            self._start(made)
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        if choices:
            choice = choices[0]
            delta = choice["delta"]
            content = delta.get("content")
            if content and self._open == "text" and len(delta) == 1:
                self._piece(b'"text_delta","text":', content, made)  # nearly every chunk
            elif delta:
                self._delta(delta, made)
            self._finish = choice["finish_reason"] or self._finish
        return made[0] if len(made) == 1 else b"".join(made)

    def heartbeat(self) -> bytes:
        return _PING

    def end(self) -> bytes:
        made: list[bytes] = []
        if not self._started:
            self._start(made)
        for at in range(len(self._calls)):
            if at not in self._written_calls:
                self._write_call(at, made)
        self._sign(made)
        self._close(made)
        reason = stop_reason(self._finish, called=bool(self._written_calls))
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = messages_usage(self._usage) if self._usage else {"output_tokens": 0}
        made.append(_event("message_delta", {"type": "message_delta", "delta": delta, "usage": usage}))
        made.append(_event("message_stop", {"type": "message_stop"}))
        return b"".join(made)

    def error(self, error: Mapping[str, Any]) -> bytes:
        return error_event(error)

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        return json_text.dumps(to_message(completion, self._model, thoughts=self._thoughts, names=self._names))

    def _delta(self, delta: dict[str, Any], made: list[bytes]) -> None:
        if self._thoughts and (thought := delta.get("reasoning_content")):
            self._block("thinking", _THINKING, made)
            self._piece(b'"thinking_delta","thinking":', thought, made)
        details = delta.get("reasoning_details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, dict):
                self._reasoning(detail, made)
        if text := delta.get("content") or delta.get("refusal"):
            self._block("text", {"type": "text", "text": ""}, made)
            self._piece(b'"text_delta","text":', text, made)
        for entry in delta.get("tool_calls", ()):
            self._call(entry, made)

    def _reasoning(self, detail: dict[str, Any], made: list[bytes]) -> None:
        if not is_claudes(detail):
            merge(self._others, {"details": [detail]})
        elif detail.get("type") == "reasoning.encrypted":
            self._close(made)
            self._block("hidden", {"type": "redacted_thinking", "data": detail.get("data")}, made)
            self._close(made)
        elif detail.get("signature"):
            self._block("thinking", _THINKING, made)
            self._piece(b'"signature_delta","signature":', detail["signature"], made)
            self._close(made)  # a signature ends its block: more thinking starts a new one

    def _sign(self, made: list[bytes]) -> None:
        """Give the client what another provider's model must get back, as the signature of the open thinking block."""
        details = settle(self._others.pop("details", None))
        if not details:
            return
        if self._open == "thinking":
            self._piece(b'"signature_delta","signature":', pack(details), made)
        else:
            self._close(made)
            self._block("hidden", {"type": "redacted_thinking", "data": pack(details)}, made)
        self._close(made)

    def _call(self, entry: dict[str, Any], made: list[bytes]) -> None:
        at = self._calls.feed(entry)
        piece = entry.get("function", {}).get("arguments")
        if at == self._current and self._open == "call":
            if piece:
                self._piece(b'"input_json_delta","partial_json":', piece, made)
            return
        if at in self._written_calls and piece and piece.strip():
            raise UpstreamInvalid("The provider continued a tool call that had ended.")
        if at in self._written_calls or not self._calls.name(at):
            return
        # Only one block is open at a time. A call that began before the open one is complete waits for the end.
        if self._open != "call" or self._calls.is_whole(self._current):
            self._write_call(at, made)

    def _write_call(self, at: int, made: list[bytes]) -> None:
        self._written_calls.add(at)
        self._close(made)
        block = {
            "type": "tool_use",
            "id": self._calls.id(at),
            "name": self._names.original(self._calls.name(at)),
            "input": {},
        }
        self._block("call", block, made)
        self._current = at
        if arguments := self._calls.arguments(at):
            self._piece(b'"input_json_delta","partial_json":', arguments, made)

    def _start(self, made: list[bytes]) -> None:
        self._started = True
        message: dict[str, Any] = {
            "id": new_id("msg_"), "type": "message", "role": "assistant", "model": self._model, "content": [],
            "stop_reason": None, "stop_sequence": None,
            "usage": {**messages_usage(None), "input_tokens": self._input_tokens},
        }  # fmt: skip
        made.append(_event("message_start", {"type": "message_start", "message": message}))

    def _block(self, kind: str, block: dict[str, Any], made: list[bytes]) -> None:
        if self._open == kind:
            return
        if self._others and kind != "thinking":
            self._sign(made)
        self._close(made)
        self._open = kind
        self._index += 1
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        made.append(_event("content_block_start", start))

    def _piece(self, kind: bytes, text: str, made: list[bytes]) -> None:
        made.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b%b}}\n\n'
            % (self._index, kind, json_text.dumps(text))
        )

    def _close(self, made: list[bytes]) -> None:
        if self._open:
            self._open = ""
            made.append(_event("content_block_stop", {"type": "content_block_stop", "index": self._index}))


def _event(name: str, payload: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json_text.dumps(payload))
