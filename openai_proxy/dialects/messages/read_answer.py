"""Reads answers of the Messages API as chat chunks.

Events: https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

import time
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import new_id
from openai_proxy.dialects.chat.errors import error_of as error_of_any
from openai_proxy.dialects.event_reader import MAX_PARTS, EventReader, folded, too_many_parts
from openai_proxy.dialects.messages.read_message import (
    annotation,
    error_of,
    redacted_detail,
    thinking_detail,
)
from openai_proxy.dialects.messages.tables import chat_usage, finish_reason
from openai_proxy.errors import UpstreamInvalid

_MAX_USAGE: Final = 64  # members


class MessagesReader(EventReader):
    """See base.AnswerReader; `model` is used if the answer names none.

    The finish is held back until `message_stop`, since usage and stop reason may change until then.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._envelope: dict[str, Any] | None = None
        self._stop_details: Any = None
        self._calls = 0
        self._annotations = 0
        self._thoughts = 0
        self._blocks = 0
        self._thought_of: dict[int, int] = {}  # block index -> index in reasoning_details
        self._call_of: dict[int, int] = {}  # block index -> our tool index, for tool_use blocks only
        self._waiting: dict[int, str] = {}  # tool blocks without arguments so far -> arguments they started with

    def error(self, status: int, data: bytes) -> dict[str, Any]:
        try:
            document = json_text.loads(data)
        except ValueError:
            document = None
        if isinstance(document, dict) and document.get("type") == "error":
            return error_of(document.get("error"))
        return error_of_any(document, status) or error_of_any({"error": {}}, status) or {}

    def completion(self, document: Any) -> dict[str, Any]:
        failed = document.get("type") == "error" if isinstance(document, dict) else False
        error = error_of(document.get("error")) if failed else error_of_any(document)
        if error is not None:
            return {"error": error}
        chunks: list[Chunk] = []
        try:
            if not isinstance(document["content"], list):
                raise TypeError
            self._message_start(document, chunks)
            for index in range(len(document["content"])):
                self._other("content_block_stop", {"index": index}, chunks)
            self._other("message_delta", {"delta": document}, chunks)
            self._stop(chunks)
        except (KeyError, TypeError, AttributeError):
            raise UpstreamInvalid("The provider sent an answer that is not understood.") from None
        made = folded(chunks)
        made["choices"][0]["message"].setdefault("refusal", None)
        return made

    def _event(self, event: Any, chunks: list[Chunk]) -> None:
        try:
            kind = event["type"]
            if kind == "content_block_delta":
                self._delta(event["index"], event["delta"], chunks)
            else:
                self._other(kind, event, chunks)
        except (KeyError, TypeError, AttributeError):
            error = error_of_any(event)
            if error is None:
                raise UpstreamInvalid("The provider sent an event that is not understood.") from None
            self.ended = True
            chunks.append({"error": error})

    def _put(self, delta: dict[str, Any], chunks: list[Chunk], finish: str | None = None) -> None:
        envelope = self._envelope
        if envelope is None:
            envelope = self._start({})
        chunks.append({**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _start(self, message: dict[str, Any]) -> dict[str, Any]:
        self._envelope = {
            "id": message.get("id") or new_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": message.get("model") or self._model,
        }
        return self._envelope

    def _delta(self, index: int, delta: dict[str, Any], chunks: list[Chunk]) -> None:
        kind = delta["type"]
        if kind == "text_delta":
            if text := _text(delta["text"]):
                self._put({"content": text}, chunks)
        elif kind == "input_json_delta":
            piece = _text(delta["partial_json"])
            call = self._call_of.get(index)
            if call is not None and piece:
                self._waiting.pop(index, None)
                self._put({"tool_calls": [{"index": call, "function": {"arguments": piece}}]}, chunks)
        elif kind == "thinking_delta":
            if text := _text(delta["thinking"]):
                details = [self._detail(index, text=text)]
                self._put({"reasoning": text, "reasoning_content": text, "reasoning_details": details}, chunks)
        elif kind == "signature_delta":
            self._put({"reasoning_details": [self._detail(index, signature=delta["signature"])]}, chunks)
        elif kind == "citations_delta":
            cited = annotation(delta.get("citation"))
            if cited is not None:
                # The accumulators of OpenAI's SDKs require an index in every list entry of a delta.
                cited["index"] = self._annotations
                self._annotations += 1
                self._put({"annotations": [cited]}, chunks)

    def _other(self, kind: str, event: dict[str, Any], chunks: list[Chunk]) -> None:
        if kind == "content_block_start":
            if event["content_block"].get("input"):
                event = self._exactly(event)
            self._block_start(event["index"], event["content_block"], chunks)
        elif kind == "content_block_stop":
            arguments = self._waiting.pop(event["index"], None)
            if arguments is not None:
                call = self._call_of[event["index"]]
                self._put({"tool_calls": [{"index": call, "function": {"arguments": arguments}}]}, chunks)
        elif kind == "message_start":
            self._message_start(event["message"], chunks)
        elif kind == "message_delta":
            delta = event.get("delta") or {}
            self.own.finish = delta.get("stop_reason") or self.own.finish
            self._stop_details = delta.get("stop_details") or self._stop_details
            self._count(event.get("usage"))
        elif kind == "message_stop":
            self._stop(chunks)
        elif kind == "ping":
            if self._envelope is not None:
                self._put({}, chunks)
        elif kind == "error":
            self.ended = True
            chunks.append({"error": error_of(event.get("error"))})
        # Anthropic's versioning policy: new kinds of events may appear and must be ignored.

    def _message_start(self, message: dict[str, Any], chunks: list[Chunk]) -> None:
        self._count(message.get("usage"))
        if self._envelope is not None:
            return  # a stream with a server-side fallback in the middle: one id and one role for all of it
        self._start(message)
        self.own.id = message.get("id")
        self._put({"role": "assistant", "content": ""}, chunks)
        for index, block in enumerate(message.get("content") or ()):
            self._block_start(index, block, chunks)

    def _block_start(self, index: int, block: dict[str, Any], chunks: list[Chunk]) -> None:
        kind = block["type"]
        self._blocks += 1
        if self._blocks > MAX_PARTS:
            raise too_many_parts()
        self._call_of.pop(index, None)
        self._thought_of.pop(index, None)
        if kind == "tool_use":
            call = self._call_of[index] = self._calls
            self._calls += 1
            self._waiting[index] = json_text.text(block.get("input") or {})
            function = {"name": _text(block["name"]), "arguments": ""}
            entry = {"index": call, "id": block["id"], "type": "function", "function": function}
            self._put({"tool_calls": [entry]}, chunks)
        elif kind == "text":
            if block.get("text"):
                self._put({"content": _text(block["text"])}, chunks)
            for citation in block.get("citations") or ():
                self._delta(index, {"type": "citations_delta", "citation": citation}, chunks)
        elif kind == "thinking":
            if block.get("thinking"):
                self._delta(index, {"type": "thinking_delta", "thinking": block["thinking"]}, chunks)
            if block.get("signature"):
                self._delta(index, {"type": "signature_delta", "signature": block["signature"]}, chunks)
        elif kind == "redacted_thinking":
            self._thoughts += 1
            self._put({"reasoning_details": [redacted_detail(self._thoughts - 1, block.get("data"))]}, chunks)
        # Blocks of the provider's own tools and their results have no equivalent in the chat API.

    def _detail(self, block: int, *, text: str | None = None, signature: str | None = None) -> dict[str, Any]:
        """A piece of a thinking block. Its `format` is sent once: OpenAI's accumulators concatenate repeated texts."""
        index = self._thought_of.get(block)
        if index is not None:
            return thinking_detail(index, text=text, signature=signature, first=False)
        if self._thoughts >= MAX_PARTS:
            raise too_many_parts()
        index = self._thought_of[block] = self._thoughts
        self._thoughts += 1
        return thinking_detail(index, text=text, signature=signature)

    def _count(self, usage: Any) -> None:
        """Usage is cumulative: a later count replaces an earlier one, a null does not."""
        if isinstance(usage, dict):
            together = {**(self.own.usage or {}), **{name: n for name, n in usage.items() if n is not None}}
            self.own.usage = together if len(together) <= _MAX_USAGE else usage

    def _stop(self, chunks: list[Chunk]) -> None:
        self.ended = True
        self._put({}, chunks, finish_reason(self.own.finish))
        if self._stop_details:
            chunks[-1]["stop_details"] = self._stop_details
        chunks.append({**(self._envelope or {}), "choices": [], "usage": chat_usage(self.own.usage or {})})


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value
