"""Chunks and completions of the chat API, built: as objects, and as bytes at well under a microsecond each.

Shapes: https://platform.openai.com/docs/api-reference/chat-streaming/streaming,
https://platform.openai.com/docs/api-reference/chat/object
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from openai_proxy.dialects import json_text

DONE = b"data: [DONE]\n\n"
_NO_FINISH = b',"finish_reason":null}]'
_END = b"}\n\n"


def new_id(prefix: str = "chatcmpl-") -> str:
    """An id like the API's own: `prefix` and 24 hex digits."""
    return prefix + uuid.uuid4().hex[:24]


def chunk(
    id: str,  # noqa: A002  # the member's name
    model: str,
    delta: dict[str, Any],
    *,
    created: int | None = None,
    finish_reason: str | None = None,
    index: int = 0,
    **extras: Any,
) -> dict[str, Any]:
    """One `chat.completion.chunk` with one choice; `extras` become members of the envelope."""
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": int(time.time()) if created is None else created,
        "model": model,
        **extras,
        "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}],
    }


def usage_chunk(id: str, model: str, usage: dict[str, Any], *, created: int | None = None) -> dict[str, Any]:  # noqa: A002  # the member's name
    """The chunk without choices that tells the usage, for clients that asked with `stream_options`."""
    return {**chunk(id, model, {}, created=created), "choices": [], "usage": usage}


def completion(
    id: str,  # noqa: A002  # the member's name
    model: str,
    choices: list[dict[str, Any]],
    *,
    created: int | None = None,
    usage: dict[str, Any] | None = None,
    **extras: Any,
) -> dict[str, Any]:
    """One `chat.completion`; each of `choices` has `index`, `message`, `logprobs` and `finish_reason`."""
    whole = {
        "id": id,
        "object": "chat.completion",
        "created": int(time.time()) if created is None else created,
        "model": model,
        **extras,
        "choices": choices,
    }
    if usage is not None:
        whole["usage"] = usage
    return whole


def completion_of(
    model: str,
    message: dict[str, Any],
    finish_reason: str,
    usage: dict[str, Any] | None,
    *,
    id: str | None = None,  # noqa: A002  # the member's name
    **extras: Any,
) -> dict[str, Any]:
    """A `chat.completion` with one choice; `extras` become members of the envelope."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return completion(id or new_id(), model, [choice], usage=usage, **extras)


class ChunkWriter:
    """The chunks of one stream as bytes: one id, one model, one time of creation.

    Everything but the delta is constant over one stream, so it is encoded once: a chunk is prefix + delta + suffix. The
    order of chunks (role first, finish, usage, `[DONE]`) is the caller's. `usage_null` puts `"usage": null` into every
    chunk, as the API does where `stream_options.include_usage` is set.
    """

    def __init__(self, model: str, *, id: str | None = None, created: int | None = None, usage_null: bool = False):  # noqa: A002  # the API's own name
        self.id = id or new_id()
        self.model = model
        self.created = int(time.time()) if created is None else created
        head = orjson.dumps({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": model})
        self._head = b"data: " + head[:-1]
        self._delta = self._head + b',"choices":[{"index":0,"delta":'
        self._tail = _NO_FINISH + (b',"usage":null' if usage_null else b"") + _END
        self._usage_null = b',"usage":null' if usage_null else b""
        self._content = self._delta + b'{"content":'
        self._content_tail = b"}" + self._tail

    def role(self) -> bytes:
        """The first chunk: the role and an empty content."""
        return self._delta + b'{"role":"assistant","content":""}' + self._tail

    def content(self, text: str) -> bytes:
        """A piece of the answer's text."""
        return self._content + orjson.dumps(text) + self._content_tail

    def delta(self, delta: dict[str, Any]) -> bytes:
        """Any other delta."""
        return self._delta + orjson.dumps(delta) + self._tail

    def tool_start(self, index: int, call_id: str, name: str, arguments: str = "") -> bytes:
        """The first chunk of a tool call; `index` counts the message's calls from 0."""
        function = {"name": name, "arguments": arguments}
        return self.delta({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})

    def tool_arguments(self, index: int, piece: str) -> bytes:
        """More of a tool call's arguments."""
        return (
            self._delta
            + b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (index, orjson.dumps(piece))
            + self._tail
        )

    def finish(self, reason: str, extra: dict[str, Any] | None = None) -> bytes:
        """The chunk that ends the message; `extra` members go beside `choices`."""
        more = b"," + orjson.dumps(extra)[1:-1] if extra else b""
        return self._delta + b'{},"finish_reason":' + orjson.dumps(reason) + b"}]" + more + self._usage_null + _END

    def usage(self, usage: dict[str, Any]) -> bytes:
        """The last chunk, without choices."""
        return self._head + b',"choices":[],"usage":' + orjson.dumps(usage) + _END


def event(document: Any) -> bytes:
    """`document` as one event of a stream."""
    return b"data: " + json_text.dumps(document) + b"\n\n"


def error_event(error: Mapping[str, Any]) -> bytes:
    """An error in mid-stream: no `choices` member, so that every client raises (measured over six SDKs)."""
    return event({"error": error})
