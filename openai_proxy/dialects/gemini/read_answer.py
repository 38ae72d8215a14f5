"""Gemini's answers as chat chunks, streamed or whole; a stream without `alt=sse` is one array.

https://ai.google.dev/api/generate-content#GenerateContentResponse
"""

import time
from collections import Counter
from typing import Any

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.calls import new_call_id
from openai_proxy.dialects.chat.chunks import chunk, new_id
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.chat.finish import finish_of
from openai_proxy.dialects.event_reader import EventReader, folded
from openai_proxy.errors import UpstreamInvalid


class GeminiReader(EventReader):
    """See base.JsonReader. No event ends the answer: each candidate has its own finish reason."""

    def __init__(self) -> None:
        super().__init__()
        self._id = ""
        self._model = ""
        self._created = int(time.time())
        self._calls: Counter[int] = Counter()  # of each candidate

    def completion(self, document: Any) -> dict[str, Any]:
        chunks: list[Chunk] = []
        for event in document if isinstance(document, list) else [document]:
            self.read(event, chunks)
        return folded(chunks)

    def _event(self, event: Any, chunks: list[Chunk]) -> None:
        try:
            if event.get("error"):
                self.ended = True
                chunks.append({"error": error_of(event)})
                return
            self._begin(event)
            for candidate in event.get("candidates") or ():
                self._candidate(candidate.get("index") or 0, candidate, chunks)
        except (KeyError, TypeError, AttributeError):
            raise UpstreamInvalid("The provider sent an event that is not understood.") from None

    def _finish(self, chunks: list[Chunk]) -> None:
        if self.own.finish is None:
            EventReader._finish(self, chunks)

    def _begin(self, event: dict[str, Any]) -> None:
        self.own.id = self.own.id or event.get("responseId")
        self._id = self._id or self.own.id or new_id()
        self._model = self._model or event.get("modelVersion") or ""
        if isinstance(event.get("usageMetadata"), dict):
            self.own.usage = chat_usage(event["usageMetadata"])

    def _candidate(self, index: int, candidate: dict[str, Any], chunks: list[Chunk]) -> None:
        for part in (candidate.get("content") or {}).get("parts") or ():
            self._put(index, self._delta(index, part), chunks)
        if candidate.get("finishReason"):
            self.own.finish = candidate["finishReason"]
            finish = "tool_calls" if self._calls[index] else finish_of({"finish_reason": self.own.finish}) or "stop"
            self._put(index, {}, chunks, finish)
            chunks[-1]["usage"] = self.own.usage

    def _put(self, index: int, delta: dict[str, Any], chunks: list[Chunk], finish: str | None = None) -> None:
        chunks.append(chunk(self._id, self._model, delta, created=self._created, index=index, finish_reason=finish))

    def _delta(self, index: int, part: dict[str, Any]) -> dict[str, Any]:
        called = part.get("functionCall")
        if not called:
            text = part.get("text") or ""
            return {"reasoning_content" if part.get("thought") is True else "content": text}
        function = {"name": called["name"], "arguments": json_text.text(called.get("args") or {})}
        call = {"index": self._calls[index], "id": called.get("id") or new_call_id(), "type": "function"}
        self._calls[index] += 1
        return {"tool_calls": [{**call, "function": function}]}


def chat_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Chat usage from Gemini's counts, which do not include thoughts in the answer's."""
    prompt, thought = usage.get("promptTokenCount") or 0, usage.get("thoughtsTokenCount") or 0
    written = (usage.get("candidatesTokenCount") or 0) + thought
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": usage.get("totalTokenCount") or prompt + written,
        "prompt_tokens_details": {"cached_tokens": usage.get("cachedContentTokenCount") or 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
