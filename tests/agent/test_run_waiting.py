"""What a client of a stream gets while it waits: the role, heartbeats and what the tools are doing."""

import asyncio
from contextlib import aclosing
from typing import Any

from openai_proxy.agent.run import start
from tests.agent.grammar import check
from tests.agent.support import (
    CLIENT_TOOL,
    Box,
    Response,
    Upstream,
    asks,
    call_deltas,
    chunk,
    collect,
    events,
    says,
    stream,
    turn,
)
from tests.harness.waiting import PATIENCE


async def test_status_chunks_report_progress() -> None:
    async def works(arguments: Any, context: Any) -> str:
        for step in range(3):
            context.progress(step, 3, f"step {step}")
        return "ok"

    upstream = Upstream(asks(("1", "works", "{}"), ("2", "nobody", "{}")), says("Done."))
    seen = check(await stream(upstream, Box(works=works), settings={"tool_status": "chunk"}))
    told = [(s["status"], s.get("tool_name"), s.get("message")) for s in seen.statuses]
    assert told[0] == ("calling_llm", None, None)
    assert ("executing_tool", "works", None) in told
    assert ("executing_tool", "works", "step 0") in told
    assert ("executing_tool", "works", "step 1") not in told, "progress was sent more often than once a second"
    assert ("tool_completed", "works", None) in told
    assert told[-1] == ("processing_results", None, None)
    assert all(s["type"] == "tool_execution" for s in seen.statuses)


async def test_status_as_reasoning_and_off() -> None:
    script = (asks(("1", "a", "{}")), says("Done."))
    seen = check(await stream(Upstream(*script), Box(a="1"), settings={"tool_status": "reasoning"}))
    assert (seen.statuses, seen.reasoning) == ([], "[calling a]\n[a answered]\n")
    seen = check(await stream(Upstream(*script), Box(a="1"), settings={"tool_status": "off"}))
    assert (seen.statuses, seen.reasoning, seen.heartbeats) == ([], "", 0)


async def test_progress_may_be_reported_from_another_thread() -> None:
    async def works(arguments: Any, context: Any) -> str:
        await asyncio.to_thread(context.progress, 1, 2, "from afar")
        return "ok"

    upstream = Upstream(asks(("1", "works", "{}")), says("Done."))
    seen = check(await stream(upstream, Box(works=works), settings={"tool_status": "chunk"}))
    assert "from afar" in [s.get("message") for s in seen.statuses]


async def test_a_model_without_tools_sends_no_status() -> None:
    seen = check(await stream(Upstream(says("Hi")), Box(), settings={"tool_status": "chunk"}))
    assert seen.statuses == []


async def test_heartbeats_during_tools_and_while_waiting_for_the_model() -> None:
    tool, head, first = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(arguments: Any, context: Any) -> str:
        await tool.wait()
        return "ok"

    upstream = Upstream(asks(("1", "slow", "{}")), head, [first, says("Done.")])
    answer = await start(turn(upstream, Box(slow=slow), settings={"heartbeat": 0.01}))
    pieces = answer.stream()
    data = b""
    async with asyncio.timeout(PATIENCE):
        for gate in (tool, head, first):
            beats = data.count(b'"delta":{},"finish_reason":null')
            while data.count(b'"delta":{},"finish_reason":null') < beats + 3:
                data += await anext(pieces)
            gate.set()
        data += b"".join([piece async for piece in pieces])
    seen = check(data)
    assert seen.content == "Done."
    assert seen.heartbeats >= 9


async def test_an_early_tools_status_is_sent_while_the_provider_is_silent() -> None:
    silent, tool = asyncio.Event(), asyncio.Event()

    async def slow(arguments: Any, context: Any) -> str:
        await tool.wait()
        return "ok"

    head = events(*map(chunk, call_deltas(("1", "slow", '{"a":1}'), ("2", "theirs", "{}"))), done=False)
    upstream = Upstream([head, silent, events(chunk({}, "tool_calls"))])
    request = turn(
        upstream, Box(slow=slow), tools=[CLIENT_TOOL], settings={"heartbeat": 0.01, "tool_status": "chunk"}
    )  # fmt: skip
    answer = await start(request)
    pieces = answer.stream()
    data = b""
    async with asyncio.timeout(PATIENCE):
        while data.count(b'"delta":{},"finish_reason":null}]}') < 3:
            data += await anext(pieces)
        tool.set()
        while b"tool_completed" not in data:
            data += await anext(pieces)
        silent.set()
        data += b"".join([piece async for piece in pieces])
    assert [c["id"] for c in check(data).calls] == ["2"]


async def test_heartbeats_are_sent_while_a_call_is_held_back() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.5
        return now

    pieces = [events(chunk(d), done=False) for d in call_deltas(*((str(i), "theirs", '{"a":1}') for i in range(9)))]
    request = turn(Upstream([*pieces, events(chunk({}, "tool_calls"))]), Box(a="1"), tools=[CLIENT_TOOL])
    object.__setattr__(request, "clock", clock)
    assert check(await collect(await start(request))).heartbeats >= 2


async def test_the_role_is_sent_as_soon_as_the_provider_has_answered() -> None:
    answer = await start(turn(Upstream([asyncio.Event()]), Box(a="1")))
    pieces = answer.stream()
    async with asyncio.timeout(PATIENCE):
        data = await anext(pieces)
    assert b'"delta":{"role":"assistant","content":""}' in data
    await pieces.aclose()


async def test_the_role_is_sent_together_with_text_that_has_arrived() -> None:
    class Here(Response):
        at_hand = True  # as if the head and the first event had arrived together

    answer = await start(turn(Upstream(Here([says("Hello")]))))
    async with aclosing(answer.stream()) as pieces:
        first = await anext(pieces)
    assert b'"role":"assistant"' in first
    assert b'"content":"Hell"' in first
