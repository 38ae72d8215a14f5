"""The real `anthropic` SDK over a socket, served by a model without the Messages API."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from openai_proxy.dialects import dialect
from openai_proxy.exchange import UpstreamRequest
from openai_proxy.upstream.client_dialect import as_dialect
from openai_proxy.upstream.echo import EchoProvider

CALCULATOR: Any = {
    "name": "calculator",
    "description": "adds",
    "input_schema": {"type": "object", "properties": {"expression": {"type": "string"}}},
}


async def serve(request: web.Request) -> web.StreamResponse:
    import orjson

    body = await request.json()
    messages = dialect("messages")
    asked = messages.read_request("/messages", body)
    chat = orjson.dumps(asked.chat)
    answer = await EchoProvider().send(UpstreamRequest("POST", "/chat/completions", body=chat), None)
    answer = await as_dialect(answer, messages, asked, body["model"], connection="echo")
    headers = {name.decode(): value.decode() for name, value in answer.headers if name != b"content-length"}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    while piece := await answer.chunk():
        await response.write(piece)
    answer.close()
    return response


@pytest.fixture
async def client() -> AsyncIterator[anthropic.AsyncAnthropic]:
    app = web.Application()
    app.router.add_post("/v1/messages", serve)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as sdk:
            yield sdk


async def test_a_whole_answer(client: anthropic.AsyncAnthropic):
    message = await client.messages.create(model="any", max_tokens=50, messages=[{"role": "user", "content": "a b c"}])
    assert message.content[0].text == "a b c"
    assert message.model == "any"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 3


async def test_a_stream_in_pieces(client: anthropic.AsyncAnthropic):
    turn: Any = [{"role": "user", "content": "one two three"}]
    async with client.messages.stream(model="any", max_tokens=2, messages=turn) as stream:
        pieces = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert pieces == ["one", " two"]
    assert final.stop_reason == "max_tokens"
    assert final.usage.output_tokens == 2


async def test_a_round_with_a_tool(client: anthropic.AsyncAnthropic):
    turns: Any = [{"role": "user", "content": 'use calculator {"expression": "2+2"}'}]
    async with client.messages.stream(model="any", max_tokens=50, messages=turns, tools=[CALCULATOR]) as stream:
        first = await stream.get_final_message()
    assert first.stop_reason == "tool_use"
    call = first.content[-1]
    assert (call.name, call.input) == ("calculator", {"expression": "2+2"})
    turns += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "4"}]},
    ]
    second = await client.messages.create(model="any", max_tokens=50, messages=turns, tools=[CALCULATOR])
    assert second.content[0].text == "calculator: 4"


async def test_an_error_is_the_sdks_own(client: anthropic.AsyncAnthropic):
    with pytest.raises(anthropic.BadRequestError, match="at least 1"):
        await client.messages.create(model="any", max_tokens=0, messages=[{"role": "user", "content": "x"}])
