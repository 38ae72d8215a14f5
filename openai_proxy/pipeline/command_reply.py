"""The proxy's own answer to a message that consists of commands only, in the format of the client's API."""

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from openai_proxy.dialects import client_dialect
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.chat.chunks import DONE, completion_of, new_id
from openai_proxy.errors import writable
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.server.headers import lines

_NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_UNREAD: Final = frozenset({"chat", "messages", "responses"})
"""Dialects whose answer does not depend on the request, which is not read: it may contain things that only its provider
understands (hosted tools, stored items).
"""


async def answer(context: RequestContext, text: str, document: Mapping[str, Any]) -> None:
    """Answer the request with `text`; nothing goes upstream."""
    text = writable(text)  # it contains names from the client
    name = context.exchange.model or "openai_proxy"
    stream = context.exchange.stream
    if context.endpoint.dialect:
        kind, body = _written(context, text, name, dict(document))
    else:
        kind, body = _completion(text, name, stream=stream)
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


def _written(context: RequestContext, text: str, name: str, document: dict[str, Any]) -> tuple[bytes, bytes]:
    """(media type, answer) in the dialect of the endpoint."""
    language = client_dialect(context.endpoint.dialect)
    if language.name in _UNREAD:
        request = IncomingRequest(document)
    else:
        request = language.read_request(context.whole_path, document)
    writer = language.write_answer(request, name)
    message = {"role": "assistant", "content": text, "refusal": None}
    if not request.chat.get("stream"):
        return b"application/json", writer.whole(completion_of(name, message, "stop", _NO_USAGE))
    pieces = [
        writer.chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        for delta, finish in (({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop"))
    ]
    return writer.stream_type, b"".join([*pieces, writer.chunk({"choices": [], "usage": _NO_USAGE}), writer.end()])


def _completion(text: str, model: str, *, stream: bool) -> tuple[bytes, bytes]:
    """(media type, answer) of the old completions API, which has no dialect."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    body = orjson.dumps(
        {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": model,
         "choices": [choice], "usage": _NO_USAGE}
    )  # fmt: skip
    return (b"text/event-stream", b"data: " + body + b"\n\n" + DONE) if stream else (b"application/json", body)
