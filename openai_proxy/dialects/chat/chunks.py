"""Builds chunks and completions of the chat API, as objects, and as bytes in well under a microsecond each.

Shapes: https://platform.openai.com/docs/api-reference/chat-streaming/streaming,
https://platform.openai.com/docs/api-reference/chat/object
"""

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk
from openai_proxy.steps import pieces

DONE = b"data: [DONE]\n\n"
_NO_FINISH = b',"finish_reason":null}]'
_END = b"}\n\n"
_TEXTS: Final = ("content", "reasoning_content", "reasoning")


def new_id(prefix: str = "chatcmpl-") -> str:
    """An id in the API's style: `prefix` and 24 hex digits."""
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
    """The chunk without choices that reports usage, for clients that set `stream_options`."""
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
    """The chunks of one stream as bytes, with one id, one model and one creation time.

    Everything but the delta is constant within a stream, so it is encoded once: a chunk is prefix + delta + suffix. The
    caller determines the order of chunks (role first, finish, usage, `[DONE]`). `usage_null` puts `"usage": null` into
    every chunk, as the API does with `stream_options.include_usage`.
    """

    def __init__(self, model: str, *, usage_null: bool = False) -> None:
        created = int(time.time())
        head = orjson.dumps({"id": new_id(), "object": "chat.completion.chunk", "created": created, "model": model})
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

    def tool_start(self, index: int, call_id: str, name: str) -> bytes:
        """The first chunk of a tool call; `index` counts the message's calls from 0."""
        function = {"name": name, "arguments": ""}
        return self.delta({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})

    def tool_arguments(self, index: int, piece: str) -> bytes:
        """More of a tool call's arguments."""
        return (
            self._delta
            + b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (index, orjson.dumps(piece))
            + self._tail
        )

    def finish(self, reason: str, extra: dict[str, Any] | None = None) -> bytes:
        """The chunk that ends the message; `extra` members are put beside `choices`."""
        more = b"," + orjson.dumps(extra)[1:-1] if extra else b""
        return self._delta + b'{},"finish_reason":' + orjson.dumps(reason) + b"}]" + more + self._usage_null + _END

    def usage(self, usage: dict[str, Any]) -> bytes:
        """The last chunk, without choices."""
        return self._head + b',"choices":[],"usage":' + orjson.dumps(usage) + _END


PART: Final = 64 * 1024
"""Characters of a text beyond which its chunk is split."""


def in_parts(chunk: Chunk) -> list[Chunk]:
    """`chunk` split into several with short texts, so that they can be processed in small steps."""
    choices = chunk.get("choices")
    choice = choices[0] if type(choices) is list and len(choices) == 1 else None
    delta = (choice.get("delta") or choice.get("message")) if type(choice) is dict else None
    if type(choice) is not dict or type(delta) is not dict:
        return [chunk]
    texts = {name: text for name in _TEXTS if type(text := delta.get(name)) is str and len(text) > PART}
    calls = [call for call in _calls_of(delta) if len(call["function"]["arguments"]) > PART]
    if not texts and not calls:
        return [chunk]
    begins: dict[str, Any] = {**delta, **{name: text[:PART] for name, text in texts.items()}}
    if calls:
        begins["tool_calls"] = [_begun(call) if call in calls else call for call in delta["tool_calls"]]
    deltas: list[dict[str, Any]] = [begins]
    deltas += [{name: piece} for name, text in texts.items() for piece in pieces(text, PART, step=PART)]
    deltas += [
        {"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]}
        for call in calls
        for piece in pieces(call["function"]["arguments"], PART, step=PART)
    ]
    index = choice.get("index", 0)
    made = [_with_choice(chunk, {"index": index, "delta": part, "finish_reason": None}) for part in deltas]
    for part in made:
        part.pop("usage", None)
    rest = {name: value for name, value in choice.items() if name not in ("delta", "message")}
    made[-1] = _with_choice(chunk, {**rest, "delta": deltas[-1]})
    return made


def _calls_of(delta: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of a delta, if each can be split into several; a piece is assigned to its call by the index alone."""
    given = delta.get("tool_calls")
    calls = [
        call
        for call in (given if type(given) is list else ())
        if type(call) is dict
        and type(call.get("index")) is int
        and type(function := call.get("function")) is dict
        and type(function.get("arguments")) is str
    ]
    distinct = {call["index"] for call in calls}
    return calls if type(given) is list and len(distinct) == len(given) else []


def _begun(call: dict[str, Any]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": call["function"]["arguments"][:PART]}}


def _with_choice(chunk: Chunk, choice: dict[str, Any]) -> Chunk:
    return {**chunk, "choices": [choice]}


def size_of(answer: Mapping[str, Any]) -> int:
    """Characters of text and arguments in a chunk or a whole answer."""
    size = 0
    for choice in answer.get("choices") or ():
        if type(choice) is not dict:
            continue
        piece = choice.get("delta") or choice.get("message")
        if type(piece) is dict:
            size += sum(len(text) for name in _TEXTS if type(text := piece.get(name)) is str)
            calls = piece.get("tool_calls")
            for call in calls if type(calls) is list else ():
                function = call.get("function") if type(call) is dict else None
                if type(function) is dict and type(text := function.get("arguments")) is str:
                    size += len(text)
    return size


def event(document: Any) -> bytes:
    """`document` as one event of a stream."""
    return b"data: " + json_text.dumps(document) + b"\n\n"


def usage_of(prompt: int, spoken: int) -> dict[str, int]:
    """The `usage` of an answer of `spoken` tokens to a prompt of `prompt` tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": spoken, "total_tokens": prompt + spoken}


def error_event(error: Mapping[str, Any]) -> bytes:
    """An error in mid-stream: without a `choices` member, every client raises (measured with six SDKs)."""
    return event({"error": error})


def events(chunks: Iterable[Chunk]) -> bytes:
    """`chunks` as events of a stream; one with `error` becomes an error event."""
    return b"".join([error_event(chunk["error"]) if "error" in chunk else event(chunk) for chunk in chunks])
