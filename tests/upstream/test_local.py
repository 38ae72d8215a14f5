"""Local models: the child, the queue and failures. Without torch: the children run plain functions."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import UpstreamDisconnected, UpstreamError, UpstreamTimeout, UpstreamTruncated
from openai_proxy.exchange import UpstreamRequest
from openai_proxy.upstream.local.provider import LocalProvider
from openai_proxy.upstream.local.tool_text import ToolCallText
from openai_proxy.upstream.local.worker import StopText
from tests.harness.waiting import PATIENCE, turning_until

FUNCTIONS = Path(__file__).parent / "local_functions"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@asynccontextmanager
async def local(function: str, **options: Any) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider("mine", function=f"answers.{function}", search=FUNCTIONS, **options)
    try:
        yield provider
    finally:
        await provider.aclose()


def ask(provider: LocalProvider, text: str = "hi", **more: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return provider.send(UpstreamRequest("POST", "/chat/completions", body=orjson.dumps(body)), None)


async def whole(provider: LocalProvider, text: str = "hi", **more: Any) -> Any:
    response = await ask(provider, text, **more)
    answer = orjson.loads(await response.read(1 << 20))
    assert response.status == 200, answer
    ChatCompletion.model_validate(answer)
    return answer


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("function", "text"),
    [("plain", "you said hi"), ("slowly", "abc"), ("later", "later"),
     ("words", "one two three 0.5 ['model', 'stop', 'x']")],
)  # fmt: skip
async def test_every_kind_of_function_answers(function: str, text: str):
    async with local(function) as provider:
        answer = await whole(provider, temperature=0.5, x=1, stop=["zzz"])
        assert answer["choices"][0]["message"]["content"] == text
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] == -(-len(text) // 4)


async def test_a_stream_comes_piece_by_piece():
    async with local("slowly") as provider:
        response = await ask(provider, stream=True, stream_options={"include_usage": True})
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        events = [event.data for event in EventSplitter().feed(await response.read(1 << 20))]
        response.close()
        assert events.pop() == b"[DONE]"
        for event in events:
            state.handle_chunk(ChatCompletionChunk.model_validate_json(event))
        completion = state.get_final_completion()
        assert completion.choices[0].message.content == "abc"
        assert completion.usage is not None
        assert len(events) == 6  # role, three pieces, finish, usage


async def test_the_child_is_kept_and_torch_is_not_imported():
    async with local("plain") as provider:
        assert provider.pid is None
        await whole(provider)
        first = provider.pid
        await whole(provider)
        assert provider.pid == first
        assert "torch" not in sys.modules
    assert first is not None
    assert ended(first)


async def test_a_stop_sequence_ends_the_answer_however_it_is_cut():
    async with local("words") as provider:
        answer = await whole(provider, stop="o t")
        assert answer["choices"][0]["message"]["content"] == "one tw"
    for size in (1, 2, 3, 50):
        stop = StopText(["END", "NDX"])
        text = "some text E EN ENDING"
        said = [stop.feed(text[at : at + size]) for at in range(0, len(text), size)]
        assert ("".join(said), stop.found) == ("some text E EN ", True)
    open_end = StopText(["END"])
    assert open_end.feed("abE") + open_end.end() == "abE"


async def test_a_disconnect_stops_the_child_and_the_next_request_runs(tmp_path: Path):
    async with local("endless") as provider:
        left = tmp_path / "left"
        response = await ask(provider, str(left), stream=True)
        assert await response.chunk()
        waiting = asyncio.ensure_future(whole(provider, "next"))
        await asyncio.sleep(0)
        assert not left.exists()
        response.close()
        pid = provider.pid
        answer = await asyncio.wait_for(waiting, PATIENCE)
        assert answer["choices"][0]["message"]["content"] == "short next"
        assert left.read_text() == "stopped"
        assert provider.pid == pid  # it was asked to stop, not killed


async def test_a_cancelled_waiting_request_leaves_the_queue(tmp_path: Path):
    async with local("endless", queue=1) as provider:
        running = await ask(provider, str(tmp_path / "r"), stream=True)
        waiting = asyncio.ensure_future(ask(provider, "w"))
        await asyncio.sleep(0.01)
        full = await ask(provider, "too many")
        assert full.status == 503
        assert orjson.loads(await full.read(999))["error"]["code"] == "overloaded"
        waiting.cancel()
        await asyncio.wait([waiting])
        again = asyncio.ensure_future(ask(provider, "w"))
        await asyncio.sleep(0.01)
        running.close()
        assert (await asyncio.wait_for(again, PATIENCE)).status == 200


async def test_the_queue_is_served_in_order(tmp_path: Path):
    async with local("endless") as provider:
        order: list[str] = []

        async def one(name: str) -> None:
            await whole(provider, name)
            order.append(name)

        running = await ask(provider, str(tmp_path / "r"), stream=True)
        tasks = []
        for name in "abcd":
            tasks.append(asyncio.ensure_future(one(name)))
            await asyncio.sleep(0)
        running.close()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert order == list("abcd")


async def test_a_function_that_does_not_yield_is_killed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("openai_proxy.upstream.local.job.CANCEL_GRACE", 0.1)
    async with local("stuck") as provider:
        response = await ask(provider, "hang", stream=True)
        while b"now" not in await response.chunk():
            pass
        pid = provider.pid
        response.close()
        assert (await whole(provider, "fine"))["choices"][0]["message"]["content"] == "now "
        assert provider.pid != pid


async def test_a_silent_child_times_out():
    async with local("stuck", idle=0.2) as provider:
        response = await ask(provider, "hang", stream=True)
        with pytest.raises(UpstreamTimeout):
            await response.read(1 << 20)
        response.close()


async def test_a_crash_breaks_one_answer_and_the_next_one_is_whole():
    async with local("crash") as provider:
        response = await ask(provider, "later", stream=True)
        with pytest.raises(UpstreamTruncated):
            await response.read(1 << 20)
        response.close()
        assert (await whole(provider))["choices"][0]["message"]["content"] == "some more"
        with pytest.raises(UpstreamTruncated):
            await ask(provider, "later")
        with pytest.raises(UpstreamDisconnected):
            await ask(provider, "at once")
        assert (await whole(provider))["choices"][0]["message"]["content"] == "some more"


async def test_a_child_killed_from_outside_is_replaced():
    async with local("plain") as provider:
        await whole(provider)
        pid = provider.pid
        assert pid is not None
        os.kill(pid, 9)
        assert (await whole(provider))["choices"][0]["message"]["content"] == "you said hi"
        assert provider.pid != pid


async def test_an_error_of_the_function_does_not_reveal_details():
    async with local("fails") as provider:
        response = await ask(provider)
        assert response.status == 500
        assert b"secret" not in await response.read(999)
        stream = await ask(provider, "later", stream=True)
        events = EventSplitter().feed(await stream.read(1 << 20))
        stream.close()
        assert orjson.loads(events[-1].data)["error"]["code"] == "local_error"
        assert b"[DONE]" not in [event.data for event in events]
        assert (await ask(provider, "later")).status == 500


async def test_idle_memory_is_released():
    async with local("plain", idle_unload=0.05) as provider:
        await whole(provider)
        await turning_until(lambda: provider.pid is None, "the idle child is unloaded")
        assert (await whole(provider))["choices"][0]["message"]["content"] == "you said hi"


async def test_the_shutdown_waits_for_a_running_unload(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("openai_proxy.upstream.local.process._GRACE", 0.1)
    async with local("plain", idle_unload=0.0) as provider:
        response = await ask(provider, stream=True)
        pid = provider.pid
        await response.read(1 << 20)
        response.close()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # so that it takes some time to exit
        await turning_until(lambda: provider.pid is None, "the unload of the child has begun")
    assert ended(pid)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_a_tool(stream: bool):
    async with local("calls") as provider:
        response = await ask(provider, tools=[TOOL], stream=stream)
        data = await response.read(1 << 20)
        response.close()
        if stream:
            state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
            for event in EventSplitter().feed(data)[:-1]:
                state.handle_chunk(ChatCompletionChunk.model_validate_json(event.data))
            data = state.current_completion_snapshot.model_dump_json().encode()
        choice = orjson.loads(data)["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "Let me see. "
        (call,) = choice["message"]["tool_calls"]
        assert (call["function"]["name"], orjson.loads(call["function"]["arguments"])) == ("look", {"x": 1})
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call], "content": None},
                 {"role": "tool", "tool_call_id": call["id"], "content": "warm"}]  # fmt: skip
        answer = await whole(provider, messages=turns, tools=[TOOL])
        assert answer["choices"][0]["message"]["content"] == "It is warm"


async def test_a_function_may_return_deltas():
    async with local("delta") as provider:
        message = (await whole(provider, tools=[TOOL]))["choices"][0]
        assert message["finish_reason"] == "tool_calls"
        assert message["message"]["reasoning_content"] == "hm"


def test_calls_in_text_are_found_however_they_are_cut():
    text = 'a <tool_call>{"name":"look","arguments":{"x":"<"}}</tool_call>\n<tool_call>{"name":"other"}</tool_call> <to'
    for size in (1, 3, 7, 200):
        parser = ToolCallText(frozenset({"look"}))
        deltas = [d for at in range(0, len(text), size) for d in parser.feed(text[at : at + size])] + parser.end()
        assert "".join(d.get("content", "") for d in deltas) == 'a <tool_call>{"name":"other"}</tool_call> <to'
        (call,) = [d["tool_calls"][0] for d in deltas if "tool_calls" in d]
        assert call["function"] == {"name": "look", "arguments": '{"x":"<"}'}
    unclosed = ToolCallText(frozenset({"look"}))
    assert unclosed.feed('<tool_call>{"name":"look"}') == []
    assert unclosed.end()[0]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize(
    ("options", "code"),
    [({"function": "nowhere.f"}, "callable_not_found"), ({"function": "answers.nothing"}, "callable_not_found"),
     ({"function": "answers.not_a_function"}, "callable_not_found"), ({"function": "f"}, "callable_not_found")],
)  # fmt: skip
async def test_loading_failures_have_a_reason(options: Any, code: str):
    provider = LocalProvider("mine", search=FUNCTIONS, **options)
    with pytest.raises(UpstreamError) as caught:
        await ask(provider)
    assert caught.value.code == code
    assert str(FUNCTIONS) not in caught.value.message
    await provider.aclose()


async def test_a_missing_extra_is_a_clear_error(tmp_path: Path):
    (tmp_path / "torch.py").write_text("raise ImportError")
    provider = LocalProvider("mine", path=str(tmp_path), search=tmp_path)
    with pytest.raises(UpstreamError, match=r"in a clone, pip install '\.\[local\]'") as caught:
        await ask(provider)
    assert (caught.value.status, caught.value.code) == (503, "local_extra_missing")
    await provider.aclose()


async def test_a_worker_that_cannot_start_or_sends_garbage():
    for command in (["/does/not/exist"], [sys.executable, "-c", "print('hello')"], [sys.executable, "-c", ""]):
        provider = LocalProvider("mine", function="x.y", command=command)
        with pytest.raises(UpstreamDisconnected):
            await asyncio.wait_for(ask(provider), PATIENCE)
        await provider.aclose()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/chat/completions", b"{", 400), ("/chat/completions", b'{"messages":[]}', 400), ("/embeddings", b"{}", 404),
     ("/chat/completions", b'{"messages":[{"role":"user"}],"n":2}', 400)],
)  # fmt: skip
async def test_requests_refused_without_a_child(path: str, body: bytes, status: int):
    async with local("plain") as provider:
        response: Any = await provider.send(UpstreamRequest("POST", path, body=body), None)
        assert response.status == status
        assert provider.pid is None


async def test_the_model_list():
    async with local("plain") as provider:
        assert [model["id"] for model in await provider.list_models()] == ["answers.plain"]
        request: Awaitable[Any] = provider.send(UpstreamRequest("GET", "/models"), None)
        assert orjson.loads(await (await request).read(999))["data"][0]["id"] == "answers.plain"
    assert LocalProvider("x", path="/models/tiny-llama").model == "tiny-llama"
    assert LocalProvider("x", path="/models/tiny-llama", model="home").model == "home"
