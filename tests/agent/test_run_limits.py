"""The limits of a turn: rounds, repeated calls, concurrency, time, tokens, and requests for which no tool runs."""

import asyncio
import time
from typing import Any

import pytest

from openai_proxy.agent.run import start
from openai_proxy.errors import DeadlineExceeded
from tests.agent.grammar import check
from tests.agent.support import (
    CLIENT_TOOL,
    Box,
    Upstream,
    asks,
    call_deltas,
    chunk,
    collect,
    events,
    results,
    says,
    stream,
    turn,
    whole,
)
from tests.harness.waiting import PATIENCE


async def test_concurrency_is_bounded_and_is_1_without_parallel_calls() -> None:
    for given, most in (({}, 2), ({"parallel_tool_calls": False}, 1)):
        running, peak = 0, 0

        async def a(arguments: Any, context: Any) -> str:
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            for _ in range(5):
                await asyncio.sleep(0)
            running -= 1
            return "ok"

        upstream = Upstream(asks(*((str(i), "a", f'{{"i":{i}}}') for i in range(5))), says("ok"))
        await stream(upstream, Box(a=a), settings={"concurrency": 2}, **given)
        assert peak == most
        assert upstream.requests[0].get("parallel_tool_calls") == given.get("parallel_tool_calls")


async def test_after_the_last_round_the_model_must_answer_with_tools_still_listed() -> None:
    upstream = Upstream(*(asks((str(i), "a", f'{{"i":{i}}}')) for i in range(2)), says("Enough."))
    seen = check(await stream(upstream, Box(a="1"), settings={"max_tool_rounds": 2}))
    assert seen.content == "Enough."
    assert [r.get("tool_choice") for r in upstream.requests] == [None, None, "none"]
    assert upstream.requests[2]["tools"] == upstream.requests[0]["tools"]


async def test_calls_after_the_last_round_are_not_run() -> None:
    script = [asks(("0", "a", "{}")), asks(("1", "a", '{"i":1}'), text="So far.")]
    box = Box(a="1")
    seen = check(await stream(Upstream(*script), box, settings={"max_tool_rounds": 1}))
    assert (seen.content, seen.finish, len(box.ran)) == ("So far.", "stop", 1)
    script[1] = asks(("1", "a", '{"i":1}'))
    seen = check(await stream(Upstream(*script), Box(a="1"), settings={"max_tool_rounds": 1}))
    assert seen.error is not None
    assert seen.error["code"] == "no_answer"


async def test_a_call_repeated_too_often_is_refused() -> None:
    upstream = Upstream(*(asks((str(i), "a", '{"x": 1}' if i % 2 else '{"x":1.0}')) for i in range(5)), says("ok"))
    box = Box(a="1")
    await stream(upstream, box)
    assert len(box.ran) == 3
    assert "3 times already" in results(upstream.requests[5])[-1][1]


@pytest.mark.parametrize("limit", [{"max_tokens": 3}, {"max_completion_tokens": 16}, {"max_tokens": 3.0}])
async def test_a_probe_runs_no_tool(limit: dict[str, Any]) -> None:
    upstream = Upstream(asks(("1", "theirs", "{}")))
    box = Box(a="1")
    seen = check(await stream(upstream, box, tools=[CLIENT_TOOL], **limit))
    assert [c["function"]["name"] for c in seen.calls] == ["theirs"]
    assert upstream.requests[0]["tools"] == [CLIENT_TOOL]
    assert box.ran == []


async def test_a_deadline_withdraws_tools_and_ends_a_hanging_one() -> None:
    async def hangs(arguments: Any, context: Any) -> str:
        await asyncio.Event().wait()
        return ""

    upstream = Upstream(asks(("1", "hangs", "{}")), says("In short."))
    # Of the 60 seconds 15.4 are left, and 15 are reserved for the answer.
    given = turn(upstream, Box(hangs=hangs), settings={"deadline": 60}, started=time.monotonic() - 44.6)
    async with asyncio.timeout(PATIENCE):
        seen = check(await collect(await start(given)))
    assert seen.content == "In short."
    assert upstream.requests[1]["tool_choice"] == "none"


TOO_LONG = "Sorry, that took too long."
SILENT: dict[str, list[Any]] = {
    "no head": [asyncio.Event()],
    "a head and no text": [[asyncio.Event()]],
    "reasoning and no text": [[events(chunk({"reasoning_content": "hm"}), done=False), asyncio.Event()]],
}


@pytest.mark.parametrize("name", SILENT)
async def test_a_deadline_without_any_text_ends_with_a_sentence(name: str) -> None:
    seen = check(await stream(Upstream(*SILENT[name]), Box(a="1"), settings={"deadline": 0.05}))
    assert (seen.content, seen.finish, seen.error) == (TOO_LONG, "stop", None)
    given = turn(Upstream(*SILENT[name]), Box(a="1"), settings={"deadline": 0.05}, newest="Mach das Licht an")
    seen = check(await collect(await start(given)))
    assert seen.content == "Das hat leider zu lange gedauert."
    answer = await start(turn(Upstream(*SILENT[name]), stream=False, settings={"deadline": 0.05}))
    completion = await answer.completion()
    assert completion["choices"][0]["message"]["content"] == TOO_LONG
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert isinstance(answer.error, DeadlineExceeded), "the exceeded deadline is not recorded"


async def test_a_deadline_ends_a_stall_after_the_first_word() -> None:
    half = events(chunk({"content": "It is "}), done=False)
    seen = check(await stream(Upstream([half, asyncio.Event()]), settings={"deadline": 0.5}))
    assert (seen.content, seen.finish) == ("It is ", None)
    assert seen.error is not None
    assert seen.error["code"] == "deadline_exceeded"
    completion = await whole(Upstream([half, asyncio.Event()]), settings={"deadline": 0.05})
    assert completion["choices"][0]["message"]["content"] == TOO_LONG, "half an answer was returned as a whole one"


async def test_a_deadline_counts_from_the_arrival_of_the_request() -> None:
    now = time.monotonic()
    upstream = Upstream(says("Hello."), says("Hello."))
    seen = check(await collect(await start(turn(upstream, settings={"deadline": 5}, started=now - 6))))
    assert (seen.content, upstream.requests) == (TOO_LONG, []), "a request was sent upstream after the deadline"
    seen = check(await collect(await start(turn(upstream, Box(a="1"), settings={"deadline": 5}, started=now - 4))))
    assert seen.content == "Hello."
    assert upstream.requests[0]["tool_choice"] == "none", "a tool may run although the deadline is near"


async def test_a_tool_that_does_not_end_does_not_outlast_the_deadline() -> None:
    async def stubborn(arguments: Any, context: Any) -> str:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if released.is_set():
                    raise

    released = asyncio.Event()
    upstream = Upstream(asks(("1", "stubborn", "{}")))
    async with asyncio.timeout(PATIENCE):
        seen = check(await stream(upstream, Box(stubborn=stubborn), settings={"deadline": 0.2}))
    released.set()
    assert seen.content == TOO_LONG


async def test_a_truncated_call_is_not_run() -> None:
    box = Box(a="1")
    cut = events(*map(chunk, call_deltas(("1", "a", '{"x": 1, "y'))), chunk({}, "length"))
    seen = check(await stream(Upstream(cut), box))
    assert (seen.finish, box.ran) == ("length", [])
    both = events(*map(chunk, call_deltas(("1", "a", "{}"), ("2", "a", '{"x"'))), chunk({}, "length"))
    upstream = Upstream(both, says("ok"))
    check(await stream(upstream, box))
    assert results(upstream.requests[1]) == [("1", "1"), ("2", "This call was not run.")]
