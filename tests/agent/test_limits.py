"""The bounds of a turn: rounds, repeated calls, width, time, tokens, and requests for which no tool runs at all."""

import asyncio
from typing import Any

import pytest

from openai_proxy.agent.run import start
from openai_proxy.errors import UpstreamTimeout
from tests.agent.grammar import check
from tests.agent.support import (
    CLIENT_TOOL,
    Box,
    Upstream,
    asks,
    call_deltas,
    chunk,
    events,
    says,
    stream,
    turn,
)


def results(request: dict[str, Any]) -> list[tuple[str, str]]:
    return [(m["tool_call_id"], m["content"]) for m in request["messages"] if m["role"] == "tool"]


async def test_width_is_bounded_and_one_where_parallel_calls_are_off() -> None:
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


async def test_a_model_that_calls_even_then_gets_no_further() -> None:
    script = [asks(("0", "a", "{}")), asks(("1", "a", '{"i":1}'), text="So far.")]
    box = Box(a="1")
    seen = check(await stream(Upstream(*script), box, settings={"max_tool_rounds": 1}))
    assert (seen.content, seen.finish, len(box.ran)) == ("So far.", "stop", 1)
    script[1] = asks(("1", "a", '{"i":1}'))
    seen = check(await stream(Upstream(*script), Box(a="1"), settings={"max_tool_rounds": 1}))
    assert seen.error is not None
    assert seen.error["code"] == "no_answer"


async def test_the_same_call_again_and_again_is_refused() -> None:
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


async def test_a_deadline_withdraws_tools_and_cuts_a_hanging_one() -> None:
    async def hangs(arguments: Any, context: Any) -> str:
        await asyncio.Event().wait()
        return ""

    upstream = Upstream(asks(("1", "hangs", "{}")), says("In short."))
    async with asyncio.timeout(10):
        seen = check(await stream(upstream, Box(hangs=hangs), settings={"deadline": 0.4}))
    assert seen.content == "In short."
    assert upstream.requests[1]["tool_choice"] == "none"


async def test_a_deadline_ends_the_waiting_for_a_silent_provider() -> None:
    with pytest.raises(UpstreamTimeout) as caught:
        await start(turn(Upstream(asyncio.Event()), Box(a="1"), settings={"deadline": 0.05}))
    assert caught.value.code == "deadline_exceeded"
    seen = check(await stream(Upstream([asyncio.Event()]), Box(a="1"), settings={"deadline": 0.05}))
    assert seen.error is not None
    assert seen.error["code"] == "deadline_exceeded"


async def test_a_cut_off_call_is_not_run() -> None:
    box = Box(a="1")
    cut = events(*map(chunk, call_deltas(("1", "a", '{"x": 1, "y'))), chunk({}, "length"))
    seen = check(await stream(Upstream(cut), box))
    assert (seen.finish, box.ran) == ("length", [])
    both = events(*map(chunk, call_deltas(("1", "a", "{}"), ("2", "a", '{"x"'))), chunk({}, "length"))
    upstream = Upstream(both, says("ok"))
    check(await stream(upstream, box))
    assert results(upstream.requests[1]) == [("1", "1"), ("2", "This call was not run.")]
