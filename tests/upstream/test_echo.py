"""The built-in echo model, through the chat protocol."""

import base64
import struct
from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import UpstreamRequest
from openai_proxy.upstream.echo import EchoProvider

CALCULATOR = {"type": "function", "function": {"name": "calculator", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "get_current_time", "parameters": {"type": "object"}}}


async def ask(path: str, body: Any, method: str = "POST") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    response = await EchoProvider().send(UpstreamRequest(method, path, body=data), None)
    answer = orjson.loads(await response.read(1 << 24))
    response.close()
    return response.status, answer


async def chat(text: str, **more: Any) -> Any:
    status, answer = await ask("/chat/completions", {"messages": [{"role": "user", "content": text}], **more})
    assert status == 200, answer
    ChatCompletion.model_validate(answer)
    return answer


async def stream(text: str, **more: Any) -> list[Any]:
    body = {"messages": [{"role": "user", "content": text}], "stream": True, **more}
    response = await EchoProvider().send(UpstreamRequest("POST", "/chat/completions", body=orjson.dumps(body)), None)
    assert dict(response.headers)[b"content-type"].startswith(b"text/event-stream")
    events = [event.data for event in EventSplitter().feed(await response.read(1 << 24))]
    assert events.pop() == b"[DONE]"
    return [orjson.loads(event) for event in events]


def call_of(message: Any) -> tuple[str, Any]:
    (call,) = message["tool_calls"]
    return call["function"]["name"], orjson.loads(call["function"]["arguments"])


async def test_it_answers_with_the_last_user_text_and_counts():
    answer = await chat("hello  world\n", model="echo")
    assert answer["model"] == "echo"
    assert answer["choices"][0]["message"]["content"] == "hello  world\n"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


async def test_parts_and_earlier_turns_are_understood():
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "second"}, {"type": "image_url", "image_url": {}}]},
    ]
    _, answer = await ask("/chat/completions", {"messages": turns})
    assert answer["choices"][0]["message"]["content"] == "second"


async def test_a_stream_is_role_words_finish_and_usage_if_asked():
    chunks = await stream("one two three", stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["delta"].get("content") for c in chunks[1:4]] == ["one", " two", " three"]
    assert chunks[4]["choices"][0]["finish_reason"] == "stop"
    assert chunks[5]["choices"] == []
    assert chunks[5]["usage"]["completion_tokens"] == 3
    assert len({c["id"] for c in chunks}) == 1
    assert all("usage" not in c for c in await stream("one"))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_the_token_limit_ends_with_length(name: str):
    answer = await chat("one two three", **{name: 2})
    assert answer["choices"][0]["message"]["content"] == "one two"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert (await chat("one two", **{name: 2}))["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stop", ["three", ["zzz", " three"]])
async def test_stop_sequences_are_omitted(stop: Any):
    answer = await chat("one two three", stop=stop)
    assert answer["choices"][0]["message"]["content"].strip() == "one two"


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ('use calculator {"expression": "2+2"}', "calculator", {"expression": "2+2"}),
        ('Use the calculator tool with {"expression": "(1+2)*3"}, please', "calculator", {"expression": "(1+2)*3"}),
        ('call get_current_time(timezone="UTC")', "get_current_time", {"timezone": "UTC"}),
        ("call get_current_time(timezone='UTC', n=-2, x=1.5, on=true)", "get_current_time",
         {"timezone": "UTC", "n": -2, "x": 1.5, "on": True}),
        ('call calculator({"expression": "1"})', "calculator", {"expression": "1"}),
        ("try calculator", "calculator", {}),
        ("use calculator {broken", "calculator", {}),
    ],
)  # fmt: skip
async def test_a_tool_is_called_by_its_name(text: str, name: str, arguments: Any):
    answer = await chat(text, tools=[CALCULATOR, CLOCK])
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert call_of(answer["choices"][0]["message"]) == (name, arguments)
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in await stream(text, tools=[CALCULATOR, CLOCK]):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    final = state.get_final_completion().model_dump()
    assert call_of(final["choices"][0]["message"]) == (name, arguments)


async def test_a_tool_that_is_not_named_or_not_allowed_is_not_called():
    for more in ({"tools": [CALCULATOR]}, {"tools": [CALCULATOR], "tool_choice": "none"}, {}):
        text = "use calculators" if more.get("tool_choice") is None else "use calculator"
        assert (await chat(text, **more))["choices"][0]["message"]["content"] == text


async def test_required_and_forced_choices_call_a_tool():
    assert call_of((await chat("hi", tools=[CLOCK], tool_choice="required"))["choices"][0]["message"])[1] == {}
    forced = {"type": "function", "function": {"name": "calculator"}}
    answer = await chat("use get_current_time", tools=[CLOCK, CALCULATOR], tool_choice=forced)
    assert call_of(answer["choices"][0]["message"])[0] == "calculator"


async def test_parallel_calls_unless_disabled():
    text = 'use calculator {"expression": "1"} and then get_current_time'
    calls = (await chat(text, tools=[CLOCK, CALCULATOR]))["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["calculator", "get_current_time"]
    assert len({call["id"] for call in calls}) == 2
    answer = await chat(text, tools=[CLOCK, CALCULATOR], parallel_tool_calls=False)
    assert len(answer["choices"][0]["message"]["tool_calls"]) == 1


async def test_tool_results_are_repeated_by_name():
    call = {"id": "c1", "type": "function", "function": {"name": "calculator", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "use calculator"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ]
    _, answer = await ask("/chat/completions", {"messages": turns, "tools": [CALCULATOR]})
    assert answer["choices"][0]["message"]["content"] == "calculator: 4"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{nope", None),
        ([], None),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "x"}], "model": 5}, "model"),
    ],
)
async def test_invalid_requests_are_a_400(body: Any, param: str | None):
    status, answer = await ask("/chat/completions", body)
    assert status == 400
    assert answer["error"]["param"] == param
    assert answer["error"]["type"] == "invalid_request_error"


async def test_models_and_unknown_paths():
    status, listing = await ask("/models", b"", "GET")
    assert (status, [model["id"] for model in listing["data"]]) == (200, ["echo"])
    assert (await ask("/models/echo", b"", "GET"))[1]["id"] == "echo"
    assert (await ask("/models/other", b"", "GET"))[1]["error"]["code"] == "model_not_found"
    assert (await ask("/audio/speech", {}))[0] == 404
    assert (await ask("/chat/completions", {}, "GET"))[0] == 404


async def test_completions_streamed_and_whole():
    status, answer = await ask("/completions", {"prompt": ["a b c", "d"], "max_tokens": 2})
    assert status == 200
    assert [(c["text"], c["finish_reason"]) for c in answer["choices"]] == [("a b", "length"), ("d", "stop")]
    body = orjson.dumps({"prompt": "a b", "stream": True, "stream_options": {"include_usage": True}})
    response = await EchoProvider().send(UpstreamRequest("POST", "/completions", body=body), None)
    events = [event.data for event in EventSplitter().feed(await response.read(1 << 20))]
    chunks = [orjson.loads(event) for event in events[:-1]]
    assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == "a b"
    assert chunks[-1]["usage"]["completion_tokens"] == 2


async def test_embeddings_are_the_same_each_time_and_of_length_one():
    _, first = await ask("/embeddings", {"input": ["x", "y"], "dimensions": 4})
    _, again = await ask("/embeddings", {"input": "x", "dimensions": 4, "encoding_format": "base64"})
    vectors = [item["embedding"] for item in first["data"]]
    assert vectors[0] != vectors[1]
    assert sum(value * value for value in vectors[0]) == pytest.approx(1)
    packed = struct.unpack("<4f", base64.b64decode(again["data"][0]["embedding"]))
    assert list(packed) == pytest.approx(vectors[0])
    assert (await ask("/embeddings", {"input": [1, 2, 3]}))[1]["usage"]["prompt_tokens"] == 3
    assert (await ask("/embeddings", {"input": {}}))[0] == 400


async def test_a_body_in_pieces_and_a_limit_on_reading():
    async def pieces():
        yield b'{"messages":[{"role":"user",'
        yield b'"content":"hi"}]}'

    response = await EchoProvider().send(UpstreamRequest("POST", "/chat/completions", body=pieces()), None)
    with pytest.raises(UpstreamInvalid):
        await response.read(10)


async def test_a_closed_answer_returns_nothing_more():
    body = orjson.dumps({"messages": [{"role": "user", "content": "a b c"}], "stream": True})
    response = await EchoProvider().send(UpstreamRequest("POST", "/chat/completions", body=body), None)
    assert await response.chunk()
    response.close()
    assert await response.chunk() == b""
