"""Every kind of connection through the running daemon: both vendors' SDKs, tools, streams, augmented models."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conftest import DaemonFactory
from tests.upstream.scripted import sse

CALCULATOR: Any = {
    "type": "function",
    "function": {"name": "calculator", "parameters": {"type": "object", "properties": {"expression": {}}}},
}
PROMPT = 'use calculator {"expression": "2+2"}'
LOCAL = """
def answer(messages, tools=()):
    if messages[-1]["role"] == "tool":
        yield "calculator: " + messages[-1]["content"]
    elif tools:
        yield '<tool_call>{"name": "calculator", "arguments": {"expression": "2+2"}}</tool_call>'
    else:
        yield "no "
        yield "tools"
"""
MODELS = ["echo:echo", "claude:c", "gemini:gemini-3-x", "mine:m"]


async def claude(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    if request.headers.get("x-api-key") != "sk-claude-key":
        error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
        return web.json_response(error, status=401)
    content = body["messages"][-1]["content"]
    last = {"type": "text"} if isinstance(content, str) else content[-1]
    start = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "stop_reason": None,
             "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}  # fmt: skip
    if last["type"] == "tool_result":
        block, piece, reason = {"type": "text", "text": ""}, {"type": "text_delta", "text": ""}, "end_turn"
        texts = ["calculator: ", last["content"]]
        pieces = [{**piece, "text": text} for text in texts]
    else:
        block = {"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": {}}
        pieces = [{"type": "input_json_delta", "partial_json": text} for text in ('{"expression"', ':"2+2"}')]
        reason = "tool_use"
    if not body.get("stream"):
        whole = {**block, "text": "".join(texts)} if block["type"] == "text" else {**block, "input":
                                                                                {"expression": "2+2"}}  # fmt: skip
        return web.json_response({**start, "content": [whole], "stop_reason": reason})
    events = sse(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": piece} for piece in pieces),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )
    return web.Response(body=events, content_type="text/event-stream")


async def gemini(request: web.Request) -> web.Response:
    """Like the compatible endpoint: no index, finish `stop` after calls, and the signature must be returned."""
    body = await request.json()
    assert body["model"] == "gemini-3-x"
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    last = body["messages"][-1]
    if last["role"] == "tool":
        (call,) = body["messages"][-2]["tool_calls"]
        if call.get("extra_content") != {"google": {"thought_signature": "c2ln"}}:
            error = {"code": 400, "message": "Function call is missing a thought_signature", "status": "INVALID"}
            return web.json_response([{"error": error}], status=400)
        message: dict[str, Any] = {"role": "assistant", "content": "calculator: " + last["content"]}
    else:
        call = {"id": "g1", "type": "function", "function": {"name": "calculator", "arguments": '{"expression":"2+2"}'},
                "extra_content": {"google": {"thought_signature": "c2ln"}}}  # fmt: skip
        message = {"role": "assistant", "tool_calls": [call]}
    answer = {"id": "g", "created": 1, "model": "gemini-3-x"}
    if not body.get("stream"):
        choices = [{**choice, "message": message}]
        return web.json_response({**answer, "object": "chat.completion", "choices": choices})
    chunk = {**answer, "object": "chat.completion.chunk", "choices": [{**choice, "delta": message}]}
    data = b"data: " + orjson.dumps(chunk) + b"\n\ndata: [DONE]\n\n"
    return web.Response(body=data, content_type="text/event-stream")


async def entries(request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": "c", "max_tokens": 4096}], "has_more": False})


@pytest.fixture
async def base(make_daemon: DaemonFactory) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/messages", claude)
    app.router.add_get("/v1/models", entries)
    app.router.add_get("/g/models", entries)
    app.router.add_post("/g/chat/completions", gemini)
    async with TestServer(app) as vendor:
        url = str(vendor.make_url("")).rstrip("/")
        conf = {
            "connections": {
                "echo": {"api_type": "echo"},
                "claude": {"api_type": "anthropic", "api_base": url, "api_key": "sk-claude-key"},
                "wrong": {"api_type": "anthropic", "api_base": url, "api_key": "sk-wrong-key"},
                "gemini": {"api_type": "google", "api_base": url + "/g", "api_key": "sk-gemini-key"},
                "mine": {"api_type": "local", "callable": "inference.answer", "model": "m"},
            },
            "default_connection": "echo",
        }
        files = {"inference.py": LOCAL}
        for name in MODELS:
            alias = name.partition(":")[0]
            files[f"models/{alias}.yaml"] = f"name: house/{alias}\nupstream_model: '{name}'\ntools: [calculator]\n"
        daemon = await asyncio.to_thread(make_daemon, conf, files=files)
        yield f"http://127.0.0.1:{daemon.port}"
        await asyncio.to_thread(daemon.stop)


async def test_a_conversation_with_a_tool_through_every_kind_with_both_sdks(base: str):
    async with openai.AsyncOpenAI(base_url=base + "/v1", api_key="k", max_retries=0) as client:
        for model in MODELS:
            for stream in (False, True):
                turns: Any = [{"role": "user", "content": PROMPT}]
                message = await ask_openai(client, model, turns, stream)
                (call,) = message.tool_calls
                assert (call.function.name, orjson.loads(call.function.arguments)) == (
                    "calculator", {"expression": "2+2"},
                ), model  # fmt: skip
                given = {"id": call.id, "type": "function",
                         "function": {"name": call.function.name, "arguments": call.function.arguments}}  # fmt: skip
                turns += [
                    {"role": "assistant", "content": None, "tool_calls": [given]},
                    {"role": "tool", "tool_call_id": call.id, "content": "4"},
                ]
                assert (await ask_openai(client, model, turns, stream)).content == "calculator: 4", model
    async with anthropic.AsyncAnthropic(base_url=base, api_key="k", max_retries=0) as sdk:
        for model in MODELS:
            turns = [{"role": "user", "content": PROMPT}]
            first = await ask_anthropic(sdk, model, turns)
            assert first.stop_reason == "tool_use", model
            block = first.content[-1]
            assert block.input == {"expression": "2+2"}
            result = {"type": "tool_result", "tool_use_id": block.id, "content": "4"}
            turns += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
            assert (await ask_anthropic(sdk, model, turns)).content[-1].text == "calculator: 4", model


async def test_augmented_models_run_our_tool_on_every_kind(base: str):
    async with openai.AsyncOpenAI(base_url=base + "/v1", api_key="k", max_retries=0) as client:
        for model in MODELS:
            name = "house/" + model.partition(":")[0]
            for stream in (False, True):
                message = await ask_openai(client, name, [{"role": "user", "content": PROMPT}], stream, tools=None)
                assert message.content == "calculator: 4", (model, stream)
    async with anthropic.AsyncAnthropic(base_url=base, api_key="k", max_retries=0) as sdk:
        for model in MODELS:
            name = "house/" + model.partition(":")[0]
            message = await ask_anthropic(sdk, name, [{"role": "user", "content": PROMPT}], tools=None)
            assert message.content[-1].text == "calculator: 4", model
            assert message.model == name


async def test_a_wrong_key_of_ours_and_unsupported_requests(base: str):
    async with openai.AsyncOpenAI(base_url=base + "/v1", api_key="k", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask_openai(client, "wrong:c", [{"role": "user", "content": "x"}], False)
        assert caught.value.code == "upstream_auth"
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="claude:c", messages=[{"role": "user", "content": "x"}], n=2)
        assert refused.value.param == "n"
        ids = {model.id async for model in client.models.list()}
        assert {"house/mine", "house/claude"} <= ids


async def ask_openai(
    client: openai.AsyncOpenAI, model: str, turns: Any, stream: bool, tools: Any = (CALCULATOR,)
) -> Any:
    more = {"tools": list(tools)} if tools else {}
    if not stream:
        completion = await client.chat.completions.create(model=model, messages=turns, **more)
    else:
        async with client.chat.completions.stream(model=model, messages=turns, **more) as reader:
            completion = await reader.get_final_completion()
    choice = completion.choices[0]
    assert choice.finish_reason == ("tool_calls" if choice.message.tool_calls else "stop")
    return choice.message


async def ask_anthropic(sdk: anthropic.AsyncAnthropic, model: str, turns: Any, tools: Any = True) -> Any:
    given: Any = [{"name": "calculator", "input_schema": CALCULATOR["function"]["parameters"]}] if tools else None
    more = {"tools": given} if given else {}
    async with sdk.messages.stream(model=model, max_tokens=50, messages=turns, **more) as reader:
        return await reader.get_final_message()
