"""How Home Assistant's clients and the openai package read augmented streams, by their own rules."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import openai
import pytest

from openai_proxy.agent.run import start
from openai_proxy.agent.store import TurnStore
from tests.agent.grammar import check
from tests.agent.support import CLIENT_TOOL, Box, Upstream, asks, call_deltas, chunk, events, says, stream, turn

HASS_TOOL = {
    "type": "function",
    "function": {"name": "HassTurnOn", "description": "", "parameters": {"type": "object", "properties": {}}},
}


def chunks(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(b[6:]) for b in data.decode().split("\n\n") if b.startswith("data: {")]


def llama_cpp(data: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Home Assistant's llama_cpp: the role must come first and alone; only tool_calls[0] of a chunk is read; text after
    a call is dropped; reading stops at the finish chunk."""
    text, calls, role = "", [], False
    for part in chunks(data):
        if not part["choices"]:
            continue
        choice = part["choices"][0]
        delta = choice["delta"]
        if not role:
            assert delta.get("role") == "assistant"
            assert not delta.get("tool_calls")
            role = True
        if delta.get("tool_calls"):
            entry = delta["tool_calls"][0]
            assert entry["function"]["arguments"], "Unexpected tool argument response"
            calls.append((entry["function"]["name"], entry["function"]["arguments"]))
        elif delta.get("content") and not calls:
            text += delta["content"]
        if choice["finish_reason"]:
            break
    return text, calls


def open_router(data: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Home Assistant's open_router: calls count only if the finish reason is "tool_calls"."""
    text, calls, finish = "", [], None
    for part in chunks(data):
        for choice in part["choices"]:
            text += choice["delta"].get("content") or ""
            entries = choice["delta"].get("tool_calls") or ()
            calls += [(e["function"]["name"], e["function"]["arguments"]) for e in entries]
            finish = choice["finish_reason"] or finish
    return text, calls if finish == "tool_calls" else []


def home_llm(data: bytes) -> tuple[str, list[tuple[str, str]]]:
    """home-llm's hand-written parser: every line is JSON after "data: ", every chunk has `object`."""
    text = ""
    for line in data.decode().splitlines():
        if not line.strip():
            continue
        payload = line.removeprefix("data: ")
        if payload.strip() == "[DONE]":
            break
        part = json.loads(payload)
        assert part["object"] == "chat.completion.chunk"
        for choice in part["choices"]:
            text += choice["delta"].get("content") or ""
    return text, []


TWO = call_deltas(("1", "HassTurnOn", ""), ("2", "HassTurnOn", ""))
READERS = [llama_cpp, open_router, home_llm]
UPSTREAMS = {
    "text": says("Paris"),
    "finish with the content": events(chunk({"content": "Paris"}, "stop")),
    "thoughts": says("<think>Hm</think>Paris"),
    "two calls in one chunk": events(
        chunk({"tool_calls": [c["tool_calls"][0] for c in TWO]}),
        chunk({}, "tool_calls"),
    ),
    "calls that end with stop": asks(("1", "HassTurnOn", ""), ("2", "HassTurnOn", "{}"), finish="stop"),
    "text after a call": events(
        *map(chunk, call_deltas(("1", "HassTurnOn", "{}"))), chunk({"content": "Paris"}), chunk({}, "tool_calls")
    ),
}  # fmt: skip

CALLS = {"two calls in one chunk": 2, "calls that end with stop": 2, "text after a call": 1}
SILENT = ("two calls in one chunk", "calls that end with stop")


@pytest.mark.parametrize("name", UPSTREAMS)
@pytest.mark.parametrize("status", ["chunk", "reasoning", "off"])
async def test_home_assistants_clients_read_every_variant(name: str, status: str) -> None:
    upstream = Upstream(asks(("0", "ours", "{}")), UPSTREAMS[name])
    data = await stream(upstream, Box(ours="ok"), tools=[HASS_TOOL], settings={"tool_status": status})
    seen = check(data)
    expected = [(c["function"]["name"], c["function"]["arguments"]) for c in seen.calls]
    assert len(expected) == {"two calls in one chunk": 2, "calls that end with stop": 2, "text after a call": 1}.get(
        name, 0
    )
    for reader in READERS:
        text, calls = reader(data)
        assert text == seen.content
        assert calls == (expected if reader is not home_llm else [])
    assert seen.content == ("" if name in SILENT else "Paris")


async def test_the_set_up_probe_is_answered_without_tools() -> None:
    body = {"max_tokens": 3, "tools": [{"type": "function", "function": {"name": "test_function"}}]}
    box = Box(ours="ok")
    upstream = Upstream(asks(("1", "ours", "{}")))
    seen = check(await stream(upstream, box, **body))
    assert box.ran == []
    assert [t["function"]["name"] for t in upstream.requests[0]["tools"]] == ["test_function"]
    assert seen.finish == "tool_calls"


async def test_a_request_as_home_assistant_sends_it_works() -> None:
    upstream = Upstream(asks(("0", "ours", "{}")), says("On."))
    messages = [
        {"role": "system", "content": "You are a voice assistant."},
        {"role": "user", "content": [{"type": "text", "text": "Light on"}]},
        {"role": "assistant"},
        {"role": "tool", "tool_call_id": "injected_content", "content": "{}"},
        {"role": "user", "content": "Again"},
    ]
    given = {"max_tokens": 3000, "top_p": 1.0, "temperature": 0.7, "user": "01JABC", "tools": [HASS_TOOL]}
    seen = check(await stream(upstream, Box(ours="ok"), messages=messages, turns=TurnStore(), **given))
    assert seen.content == "On."
    assert upstream.requests[0]["messages"] == messages
    assert {k: upstream.requests[1][k] for k in ("max_tokens", "top_p", "temperature", "user")} == {
        k: v for k, v in given.items() if k != "tools"
    }


CHUNKS = {"tool_status": "chunk"}


class _Body(httpx.AsyncByteStream):
    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                yield piece


def client(upstream: Upstream, box: Box, store: TurnStore) -> openai.AsyncOpenAI:
    """The real client, with the agent in place of the network."""

    async def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        given = {k: v for k, v in body.items() if k not in ("model", "messages", "stream")}
        given = {"messages": body["messages"], "stream": body.get("stream", False), "settings": CHUNKS, **given}
        answer = await start(turn(upstream, box, turns=store, caller="me", **given))
        if body.get("stream"):
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=headers, stream=_Body(answer.stream()))
        return httpx.Response(200, json=await answer.completion())

    http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    return openai.AsyncOpenAI(api_key="k", base_url="http://proxy/v1", http_client=http)


async def test_the_openai_client_holds_a_mixed_conversation_with_its_stream_helper() -> None:
    mixed = asks(("o1", "ours", "{}"), ("call_c1", "theirs", '{"x":1}'), text="One moment.")
    upstream = Upstream(mixed, says("All done."))
    tools: Any = [CLIENT_TOOL]
    async with client(upstream, Box(ours="OURS"), TurnStore()) as api:
        messages: Any = [{"role": "user", "content": "hi"}]
        helper = api.chat.completions.stream(model="augmented/m", messages=messages, tools=tools)
        async with helper as events_:
            kinds = [event.type async for event in events_]
            first = await events_.get_final_completion()
        assert "tool_calls.function.arguments.done" in kinds
        message = first.choices[0].message
        assert message.content == "One moment."
        (call,) = message.tool_calls or []
        assert (call.id, call.function.name, call.function.arguments) == ("call_c1", "theirs", '{"x":1}')
        assert first.usage is None
        messages += [
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "THEIRS"},
        ]
        parts = await api.chat.completions.create(
            model="augmented/m", messages=messages, tools=tools, stream=True, stream_options={"include_usage": True}
        )
        received = [part async for part in parts]
    assert "".join(p.choices[0].delta.content or "" for p in received if p.choices) == "All done."
    assert received[-1].usage is not None
    assert received[-1].usage.total_tokens == 15
    sent = upstream.requests[1]["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert [m["content"] for m in sent[2:]] == ["OURS", "THEIRS"]


async def test_the_openai_client_without_streaming_and_with_an_error_in_the_stream() -> None:
    from tests.agent.support import completion, whole_calls

    upstream = Upstream(
        whole_calls(("o1", "ours", "{}")), completion({"content": "Hi"}), events(chunk({"content": "half"}), done=False)
    )
    messages: Any = [{"role": "user", "content": "hi"}]
    async with client(upstream, Box(ours="OURS"), TurnStore()) as api:
        whole = await api.chat.completions.create(model="augmented/m", messages=messages)
        assert (whole.model, whole.choices[0].message.content) == ("augmented/m", "Hi")
        parts = await api.chat.completions.create(model="augmented/m", messages=messages, stream=True)
        text = ""

        async def read() -> None:
            nonlocal text
            async for part in parts:
                text += part.choices[0].delta.content or ""

        with pytest.raises(openai.APIError, match="before it was complete"):
            await read()
    assert text == "half"
