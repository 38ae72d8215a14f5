"""Writes a chat answer as Gemini does: events, one array, or one object.

Every piece is a GenerateContentResponse; calls are sent complete, and the last piece has the finish and the counts.
https://ai.google.dev/api/generate-content#GenerateContentResponse
"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import new_id
from openai_proxy.dialects.chat.content import text_and_reasoning
from openai_proxy.dialects.chat.deltas import merge, settle
from openai_proxy.dialects.chat.google.signatures import signature_of
from openai_proxy.dialects.gemini.errors import error_document
from openai_proxy.dialects.gemini.read_request import GeminiDetails
from openai_proxy.dialects.packed_reasoning import pack
from openai_proxy.dialects.tool_calls import WholeCalls, arguments_object
from openai_proxy.errors import UpstreamInvalid

_FINISH: Final = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}


class _Candidate:
    """One of the answers of a stream."""

    def __init__(self) -> None:
        self.calls = WholeCalls()
        self.details: dict[str, Any] = {}  # `reasoning_details` not attached to a call yet
        self.finish: Any = None


class GeminiWriter:
    """Writes one answer with `model` as its model."""

    def __init__(self, details: GeminiDetails, model: str) -> None:
        self._sse = details.sse
        self._thoughts = details.thoughts
        self._names = details.names
        self._envelope = {"modelVersion": model, "responseId": new_id("")}
        self._tail = b"," + json_text.dumps(self._envelope)[1:]
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Any = None
        self._begun = False

    @property
    def stream_type(self) -> bytes:
        """The Content-Type of a stream."""
        return b"text/event-stream" if self._sse else b"application/json"

    def chunk(self, chunk: Chunk) -> bytes:
        """The pieces for `chunk`. Raises UpstreamInvalid for a call that cannot be written."""
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        if not choices:
            return self.error(chunk["error"]) if "error" in chunk else b""
        made = b""
        for choice in choices:
            index = choice.get("index") or 0
            candidate = self._candidates.get(index)
            if candidate is None:
                candidate = self._candidates[index] = _Candidate()
            delta = choice.get("delta")
            finish = choice.get("finish_reason")
            if finish:
                candidate.finish = finish
            elif not delta:
                made += self.heartbeat()
                continue
            parts = self._parts(candidate, delta) if delta else []
            if parts:
                made += self._piece(index, parts, logprobs=choice.get("logprobs"))
        return made

    def _parts(self, candidate: _Candidate, delta: dict[str, Any]) -> list[dict[str, Any]]:
        content = delta.get("content")
        if type(content) is str and len(delta) == 1:
            return [{"text": content}] if content else []  # nearly every chunk
        text, thought = text_and_reasoning(delta)
        parts: list[dict[str, Any]] = [{"text": thought, "thought": True}] if thought and self._thoughts else []
        if text:
            parts.append({"text": text})
        if delta.get("reasoning_details"):
            merge(candidate.details, {"reasoning_details": delta["reasoning_details"]})
        if delta.get("tool_calls"):
            parts += self._calls(candidate.calls.feed(delta["tool_calls"]), candidate.details)
        return parts

    def _calls(self, calls: list[dict[str, Any]], details: dict[str, Any]) -> list[dict[str, Any]]:
        """The parts for complete calls. The first one carries the reasoning that the model needs to get back."""
        parts = []
        for call in calls:
            function = call["function"]
            made = {
                "id": call.get("id"),
                "name": self._names.original(function["name"]),
                "args": arguments_object(function.get("arguments")),
            }
            part: dict[str, Any] = {"functionCall": made}
            signature = signature_of(call.get("extra_content"))
            others = settle(details.pop("reasoning_details", None))
            if signature is None and others:
                signature = pack(others)
            if signature is not None:
                part["thoughtSignature"] = signature
            parts.append(part)
        return parts

    def _piece(
        self, index: int, parts: list[dict[str, Any]], *, finish: str | None = None, logprobs: Any = None
    ) -> bytes:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
        if finish is not None:
            candidate["finishReason"] = finish
        if logprobs:
            candidate["logprobsResult"] = _logprobs(logprobs)
        document = b'{"candidates":[' + json_text.dumps(candidate) + b"]"
        if finish is not None and self._usage:
            document += b',"usageMetadata":' + json_text.dumps(usage_metadata(self._usage))
        return self._framed(document + self._tail)

    def _framed(self, document: bytes) -> bytes:
        if self._sse:
            return b"data: " + document + b"\r\n\r\n"
        first, self._begun = not self._begun, True
        return (b"[" if first else b",\r\n") + document

    def heartbeat(self) -> bytes:
        """A piece with an empty text."""
        return self._piece(0, [{"text": ""}])

    def end(self) -> bytes:
        """The calls that are still open, and a last piece for each answer with its finish and the counts."""
        made = b""
        for index, candidate in sorted((self._candidates or {0: _Candidate()}).items()):
            parts = self._calls(candidate.calls.flush(), candidate.details) or [{"text": ""}]
            made += self._piece(index, parts, finish=_FINISH.get(candidate.finish, "STOP"))
        return made if self._sse else made + b"]"

    def error(self, error: Mapping[str, Any]) -> bytes:
        """The error as the last piece."""
        made = self._framed(json_text.dumps(error_document(None, error)))
        return made if self._sse else made + b"]"

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        """The answer as one object. Raises UpstreamInvalid if `completion` holds no answer."""
        try:
            candidates = [self._whole(choice) for choice in completion["choices"]]
        except (KeyError, TypeError, AttributeError):
            raise UpstreamInvalid("The provider sent an answer that is not understood.") from None
        if not candidates:
            raise UpstreamInvalid("The provider sent an answer without a choice.")
        usage = completion.get("usage")
        metadata = {"usageMetadata": usage_metadata(usage)} if usage else {}
        return json_text.dumps({"candidates": candidates, **metadata, **self._envelope})

    def _whole(self, choice: dict[str, Any]) -> dict[str, Any]:
        message = dict(choice["message"])
        calls = message.pop("tool_calls", None) or ()
        candidate = _Candidate()
        parts = self._parts(candidate, {**message, "role": "assistant"})
        parts += self._calls(list(calls), candidate.details)
        made: dict[str, Any] = {
            "content": {"parts": parts or [{"text": ""}], "role": "model"},
            "finishReason": _FINISH.get(choice.get("finish_reason") or "", "STOP"),
            "index": choice.get("index") or 0,
        }
        if choice.get("logprobs"):
            made["logprobsResult"] = _logprobs(choice["logprobs"])
        return made


def usage_metadata(usage: Any) -> dict[str, Any]:
    """Gemini's counts from chat usage, in which reasoning counts as output."""
    usage = usage if isinstance(usage, dict) else {}
    prompt, answer = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    made = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": max(answer - thoughts, 0),
        "totalTokenCount": usage.get("total_tokens") or prompt + answer,
    }
    if thoughts:
        made["thoughtsTokenCount"] = thoughts
    if cached:
        made["cachedContentTokenCount"] = cached
    return made


def _logprobs(logprobs: dict[str, Any]) -> dict[str, Any]:
    entries = logprobs.get("content") or ()
    chosen = [{"token": entry.get("token"), "logProbability": entry.get("logprob")} for entry in entries]
    top = [
        {
            "candidates": [
                {"token": other.get("token"), "logProbability": other.get("logprob")}
                for other in entry.get("top_logprobs") or ()
            ]
        }
        for entry in entries
    ]
    return {"chosenCandidates": chosen, "topCandidates": top}
