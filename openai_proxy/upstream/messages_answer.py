"""A chat answer on its way to a client that speaks the Messages API."""

import orjson

from openai_proxy.dialects.messages.write_answer import MessageStream, to_error, to_message
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.upstream.inprocess import BytesResponse, ConvertedResponse
from openai_proxy.upstream.translating import (
    MAX_ANSWER,
    MAX_ERROR,
    answer_object,
    body_headers,
    header,
    must_be_plain,
)


async def as_messages(response: UpstreamResponse, model: str, *, input_tokens: int = 0) -> UpstreamResponse:
    """`response` to a chat request as the answer to the Messages request it was made from.

    `model` is the name that was asked for. An answer in events becomes events, a whole one a message, an error an
    error of the Messages API with the same status. Raises UpstreamInvalid for an answer that is not understood.
    """
    must_be_plain(response)
    kind = (header(response.headers, b"content-type") or b"").lower()
    if response.status == 200 and b"text/event-stream" in kind:
        stream = MessageStream(model, input_tokens=input_tokens)
        headers = body_headers(response.headers, b"text/event-stream; charset=utf-8")
        return ConvertedResponse(response, stream.feed, stream.end, headers=headers)
    headers = body_headers(response.headers, b"application/json")
    try:
        if response.status >= 400:
            body = to_error(response.status, await response.read(MAX_ERROR))
        else:
            body = orjson.dumps(to_message(answer_object(await response.read(MAX_ANSWER)), model))
    finally:
        response.close()
    return BytesResponse(body, status=response.status, headers=headers)
