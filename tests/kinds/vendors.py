"""What each vendor sends on the wire for the same things: an answer, a call, an error. Small fixtures of our own."""

import json
from typing import Any, Protocol

from tests.agent import support
from tests.harness.plays import LAST, SSE_HEAD, chunk, plain

SIZES = ("small", "large")
TEXT = "Grüße aus Paris 🚀"
CALL = ("call_0000000000000000000000001", "theirs", '{"room":"küche","level":0.5}')


class Vendor(Protocol):
    """One kind of connection over HTTP."""

    api_type: str
    chat_path: str  # where its chat requests arrive
    key_header: str

    def says(self, text: str, *, stream: bool) -> bytes:
        """An answer of text, 3 tokens of it."""
        ...

    def calls(self, call: tuple[str, str, str], *, stream: bool, text: str = "") -> bytes:
        """An answer that calls a tool."""
        ...

    def refuses(self, status: str, message: str) -> bytes:
        """An error answer."""
        ...

    def breaks(self, text: str) -> bytes:
        """The beginning of a streamed answer, followed by an error in band."""
        ...

    def begins(self, text: str) -> bytes:
        """The beginning of a streamed answer."""
        ...

    def results(self, body: dict[str, Any]) -> list[tuple[str, str]]:
        """(call id, text) of the tool results in a request body."""
        ...

    def models(self) -> bytes:
        """Its model list: its name with `-small` and `-large`."""
        ...


def text_of(content: Any) -> str:
    """The text of a content that is a text or parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class OpenAI:
    """OpenAI's own format, also used by OpenRouter, Ollama, llama.cpp and vLLM."""

    api_type = "openai"
    chat_path = "/v1/chat/completions"
    key_header = "authorization"

    def says(self, text: str, *, stream: bool) -> bytes:
        return _sse(support.says(text)) if stream else plain(support.completion({"content": text}))

    def calls(self, call: tuple[str, str, str], *, stream: bool, text: str = "") -> bytes:
        if stream:
            return _sse(b": OPENROUTER PROCESSING\n\n" + support.asks(call, text=text))
        return plain(support.whole_calls(call, text=text or None))

    def refuses(self, status: str, message: str) -> bytes:
        return plain(json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode(), status)

    def begins(self, text: str) -> bytes:
        return SSE_HEAD + chunk(support.events(support.chunk({"role": "assistant", "content": text}), done=False))

    def breaks(self, text: str) -> bytes:
        error = {"error": {"message": "Overloaded", "code": 529}}
        return self.begins(text) + chunk(support.events(error, done=False)) + LAST

    def results(self, body: dict[str, Any]) -> list[tuple[str, str]]:
        return [(m["tool_call_id"], text_of(m["content"])) for m in body["messages"] if m["role"] == "tool"]

    def models(self) -> bytes:
        data = [{"id": f"openai-{size}", "object": "model", "created": 1, "owned_by": "x"} for size in SIZES]
        return plain(json.dumps({"object": "list", "data": data}).encode())


class Google(OpenAI):
    """Google's compatible endpoint: no index, finish "stop" with calls, errors in an array, ids with a prefix."""

    api_type = "google"

    def calls(self, call: tuple[str, str, str], *, stream: bool, text: str = "") -> bytes:
        signature = {"google": {"thought_signature": "c2lnbmF0dXJl"}}
        entry = {"id": call[0], "type": "function", "function": {"name": call[1], "arguments": call[2]}}
        entry |= {"extra_content": signature}
        if not stream:
            message = {"role": "assistant", "content": text or None, "tool_calls": [entry]}
            return plain(support.completion(message, "stop"))
        first = [support.chunk({"role": "assistant", "content": text})] if text else []
        parts = [*first, support.chunk({"role": "assistant", "tool_calls": [entry]}), support.chunk({}, "stop")]
        return _sse(support.events(*parts, support.usage_event()))

    def refuses(self, status: str, message: str) -> bytes:
        error = {"code": int(status[:3]), "message": message, "status": "UNAVAILABLE"}
        return plain(json.dumps([{"error": error}]).encode(), status)

    def models(self) -> bytes:
        data = [{"id": f"models/google-{size}", "object": "model", "owned_by": "google"} for size in SIZES]
        return plain(json.dumps({"object": "list", "data": data}).encode())


class Anthropic:
    """The Messages API."""

    api_type = "anthropic"
    chat_path = "/v1/messages"
    key_header = "x-api-key"

    def says(self, text: str, *, stream: bool) -> bytes:
        return self._answer([{"type": "text", "text": text}], "end_turn", stream=stream)

    def calls(self, call: tuple[str, str, str], *, stream: bool, text: str = "") -> bytes:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
        blocks = [thought, *blocks, {"type": "tool_use", "id": call[0], "name": call[1], "input": json.loads(call[2])}]
        return self._answer(blocks, "tool_use", stream=stream)

    def refuses(self, status: str, message: str) -> bytes:
        kind = {"401": "authentication_error", "429": "rate_limit_error", "529": "overloaded_error"}
        error = {"type": kind.get(status[:3], "api_error"), "message": message}
        return plain(json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode(), status)

    def begins(self, text: str) -> bytes:
        events = [
            self._start(),
            _opens(0, {"type": "text", "text": ""}),
            _adds(0, {"type": "text_delta", "text": text}),
        ]
        return SSE_HEAD + chunk(_events(events))

    def breaks(self, text: str) -> bytes:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        return self.begins(text) + chunk(_events([error])) + LAST

    def results(self, body: dict[str, Any]) -> list[tuple[str, str]]:
        blocks = [b for m in body["messages"] if isinstance(m["content"], list) for b in m["content"]]
        return [(b["tool_use_id"], text_of(b["content"])) for b in blocks if b["type"] == "tool_result"]

    def models(self) -> bytes:
        more = {"display_name": "Claude", "created_at": "2026-01-01T00:00:00Z"}
        data = [{"type": "model", "id": f"anthropic-{size}", **more} for size in SIZES]
        answer = {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return plain(json.dumps(answer).encode())

    def _start(self) -> dict[str, Any]:
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
        message |= {"stop_reason": None, "usage": {"input_tokens": 10, "output_tokens": 1}}
        return {"type": "message_start", "message": message}

    def _answer(self, blocks: list[dict[str, Any]], reason: str, *, stream: bool) -> bytes:
        if not stream:
            message = {**self._start()["message"], "content": blocks, "stop_reason": reason}
            message["usage"] = {"input_tokens": 10, "output_tokens": 5}
            return plain(json.dumps(message).encode())
        events = [self._start(), {"type": "ping"}]
        for index, block in enumerate(blocks):
            events += _block(index, block)
        events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}})
        events.append({"type": "message_stop"})
        return _sse(_events(events))


def _block(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "text":
        empty, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    elif block["type"] == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    else:
        empty = {**block, "input": {}}
        text = json.dumps(block["input"], ensure_ascii=False)
        deltas = [{"type": "input_json_delta", "partial_json": text[i : i + 5]} for i in range(0, len(text), 5)]
    return [_opens(index, empty), *(_adds(index, d) for d in deltas), {"type": "content_block_stop", "index": index}]


def _opens(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _adds(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _events(events: list[dict[str, Any]]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n".encode() for e in events)


def _sse(data: bytes) -> bytes:
    """Cut in the middle of lines and characters, as the network does."""
    return SSE_HEAD + b"".join(chunk(data[i : i + 37]) for i in range(0, len(data), 37)) + LAST


VENDORS: dict[str, Vendor] = {"openai": OpenAI(), "anthropic": Anthropic(), "google": Google()}
