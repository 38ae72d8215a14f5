"""Writes answers of the chat API."""

from collections.abc import Mapping
from typing import Any, ClassVar

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import DONE, chunk, error_event, event, new_id


class ChatWriter:
    """See base.AnswerWriter. If `model` is None, chunks keep the model that they came with."""

    stream_type: ClassVar[bytes] = b"text/event-stream; charset=utf-8"

    def __init__(self, model: str | None = None, *, include_usage: bool = False) -> None:
        self._model = model
        self._include_usage = include_usage
        self._envelope: dict[str, Any] | None = None  # id, created and model of the first chunk

    def chunk(self, chunk: Chunk) -> bytes:
        if self._model is not None or self._envelope is None or "id" not in chunk:
            chunk = self._in_envelope(chunk)
        if self._include_usage:
            if "usage" not in chunk:
                chunk = {**chunk, "usage": None}
        elif "usage" in chunk:
            if not chunk.get("choices"):
                return b""
            chunk = {name: value for name, value in chunk.items() if name != "usage"}
        return event(chunk)

    def heartbeat(self) -> bytes:
        return self.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": None}]})

    def end(self) -> bytes:
        return DONE

    def error(self, error: Mapping[str, Any]) -> bytes:
        return error_event(error)

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        return json_text.dumps(completion if self._model is None else {**completion, "model": self._model})

    def _in_envelope(self, given: Chunk) -> Chunk:
        if self._envelope is None:
            made = chunk(given.get("id") or new_id(), self._model or given.get("model") or "", {})
            self._envelope = {name: made[name] for name in ("id", "object", "created", "model")}
        whole = {**self._envelope, **given}
        if self._model is not None:
            whole["model"] = self._model
        return whole
