"""An answer of the proxy's own, in the shape of whatever API was asked: what a message of nothing but commands gets."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from openai_proxy.dialects import client_dialect
from openai_proxy.dialects.chat.chunks import DONE, ChunkWriter, completion_of, new_id
from openai_proxy.errors import writable
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.server.headers import lines

_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_ZERO = {"input_tokens": 0, "output_tokens": 0}

Write = Callable[[str, str, Mapping[str, Any]], bytes]


async def answer(context: RequestContext, text: str, document: Mapping[str, Any]) -> None:
    """Answer the request with `text`; nothing goes upstream."""
    text = writable(text)  # names in it are the client's
    name = context.exchange.model or "openai_proxy"
    stream = context.exchange.stream
    kind = b"text/event-stream" if stream else b"application/json"
    shapes = _SHAPES.get(context.endpoint.path)
    if shapes is not None:
        whole, streamed = shapes
        body = (streamed if stream else whole)(text, name, document)
    else:
        kind, body = _translated(context, text, name, dict(document))
    reply, entry = context.reply, context.entry
    reply.extra.append(("x-request-id", context.exchange.id))
    entry.response(200, ((b"content-type", kind),))
    entry.data(body)
    if not stream:
        await reply.send(200, body)
        return
    reply.begin(200, b"OK", lines([("Content-Type", kind.decode()), ("Cache-Control", "no-cache")]), None)
    await reply.write(body)
    await reply.end()


def _translated(context: RequestContext, text: str, name: str, document: dict[str, Any]) -> tuple[bytes, bytes]:
    """(media type, answer) in the dialect of the endpoint."""
    language = client_dialect(context.endpoint.dialect)
    request = language.read_request(context.whole_path, document)
    writer = language.write_answer(request, name)
    if not request.chat.get("stream"):
        message = {"role": "assistant", "content": text}
        return b"application/json", writer.whole(completion_of(name, message, "stop", _NO_USAGE))
    pieces = [
        writer.chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        for delta, finish in (({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop"))
    ]
    return writer.stream_type, b"".join([*pieces, writer.end()])


def _chat(text: str, model: str, _: Mapping[str, Any]) -> bytes:
    return orjson.dumps(
        completion_of(model, {"role": "assistant", "content": text, "refusal": None}, "stop", _NO_USAGE)
    )


def _chat_stream(text: str, model: str, document: Mapping[str, Any]) -> bytes:
    options = document.get("stream_options")
    usage = isinstance(options, dict) and options.get("include_usage") is True
    writer = ChunkWriter(model, usage_null=usage)
    pieces = [writer.role(), writer.content(text), writer.finish("stop")]
    return b"".join([*pieces, *([writer.usage(_NO_USAGE)] if usage else []), DONE])


def _completion(text: str, model: str, _: Mapping[str, Any], finish: str | None = "stop") -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return orjson.dumps(
        {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": model,
         "choices": [choice], "usage": _NO_USAGE}
    )  # fmt: skip


def _completion_stream(text: str, model: str, document: Mapping[str, Any]) -> bytes:
    return b"data: " + _completion(text, model, document) + b"\n\n" + DONE


def _event(data: dict[str, Any]) -> bytes:
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def _message(text: str | None, model: str) -> dict[str, Any]:
    """https://docs.anthropic.com/en/api/messages; without `text`, as its stream begins."""
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if text is not None else [],
        "stop_reason": "end_turn" if text is not None else None,
        "stop_sequence": None,
        "usage": _ZERO,
    }


def _messages(text: str, model: str, _: Mapping[str, Any]) -> bytes:
    return orjson.dumps(_message(text, model))


def _messages_stream(text: str, model: str, _: Mapping[str, Any]) -> bytes:
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message(None, model)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 0}},
        {"type": "message_stop"},
    ]
    return b"".join(map(_event, events))


def _response(item: dict[str, Any] | None, model: str, response_id: str) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/responses/object; without `item`, as its stream begins."""
    usage = {**_ZERO, "total_tokens": 0, "input_tokens_details": {"cached_tokens": 0},
             "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed" if item else "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [item] if item else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": None,
        "top_p": None,
        "usage": usage if item else None,
    }


def _item(text: str | None, item_id: str) -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": "completed" if text is not None else "in_progress",
        "content": [_part(text)] if text is not None else [],
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _responses(text: str, model: str, _: Mapping[str, Any]) -> bytes:
    return orjson.dumps(_response(_item(text, new_id("msg_")), model, new_id("resp_")))


def _responses_stream(text: str, model: str, _: Mapping[str, Any]) -> bytes:
    response_id, item_id = new_id("resp_"), new_id("msg_")
    here = {"item_id": item_id, "output_index": 0, "content_index": 0}
    whole = _item(text, item_id)
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response(None, model, response_id)},
        {"type": "response.in_progress", "response": _response(None, model, response_id)},
        {"type": "response.output_item.added", "output_index": 0, "item": _item(None, item_id)},
        {"type": "response.content_part.added", **here, "part": _part("")},
        {"type": "response.output_text.delta", **here, "delta": text, "logprobs": []},
        {"type": "response.output_text.done", **here, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **here, "part": _part(text)},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": _response(whole, model, response_id)},
    ]
    return b"".join(_event({**event, "sequence_number": number}) for number, event in enumerate(events))


_SHAPES: dict[str, tuple[Write, Write]] = {
    "/chat/completions": (_chat, _chat_stream),
    "/completions": (_completion, _completion_stream),
    "/messages": (_messages, _messages_stream),
    "/responses": (_responses, _responses_stream),
}
