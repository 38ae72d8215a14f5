"""Writing chat.completion.chunk events as bytes, at well under a microsecond each.

Everything but the delta is constant over one stream, so it is encoded once: a chunk is prefix + delta + suffix.
The order of chunks (role first, finish, usage, `[DONE]`) is the caller's.
Shape: https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

import time
import uuid
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
_NO_FINISH = b',"finish_reason":null}]'
_END = b"}\n\n"


def new_id(prefix: str = "chatcmpl-") -> str:
    """An id like the API's own: `prefix` and 24 hex digits."""
    return prefix + uuid.uuid4().hex[:24]


class ChunkWriter:
    """The chunks of one stream: one id, one model, one time of creation.

    `usage_null` puts `"usage": null` into every chunk, as the API does where `stream_options.include_usage` is set.
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


def error_event(message: str, kind: str, code: str | int | None) -> bytes:
    """An error in mid-stream: no `choices` member, so that every client raises (measured over six SDKs)."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"


def completion(
    model: str,
    message: dict[str, Any],
    finish_reason: str,
    usage: dict[str, Any] | None,
    *,
    id: str | None = None,  # noqa: A002  # the API's own name
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A whole chat.completion object with one choice; `extra` members go to the top level."""
    return {
        "id": id or new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        **({"usage": usage} if usage is not None else {}),
        **(extra or {}),
    }
