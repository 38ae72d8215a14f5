"""The tool loop: what is sent upstream, in which order, and what the model sees."""

import asyncio
from typing import Any

import pytest

from openai_proxy.agent.refusal import UpstreamRefused
from openai_proxy.agent.run import start
from openai_proxy.errors import UpstreamError, UpstreamUnreachable
from tests.agent.grammar import check
from tests.agent.support import (
    CLIENT_TOOL,
    USAGE,
    Box,
    Response,
    Upstream,
    Watcher,
    asks,
    call_deltas,
    chunk,
    completion,
    events,
    results,
    says,
    stream,
    turn,
    usage_event,
    whole,
    whole_calls,
)
from tests.harness.waiting import PATIENCE


async def test_a_tool_round_is_hidden_and_its_result_reaches_the_model() -> None:
    upstream = Upstream(asks(("c1", "clock", '{"zone":"x"}')), says("It is noon."))
    box = Box(clock="12:00")
    seen = check(await stream(upstream, box))
    assert (seen.content, seen.finish, seen.calls) == ("It is noon.", "stop", [])
    assert box.ran == [("clock", {"zone": "x"})]
    first, second = upstream.requests
    assert [t["function"]["name"] for t in first["tools"]] == ["clock"]
    assert second["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"zone":"x"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "12:00"},
    ]


async def test_a_whole_completion_for_clients_that_do_not_stream() -> None:
    upstream = Upstream(
        whole_calls(("c1", "clock", "{}"), text="One moment."),
        completion({"content": "Noon."}, system_fingerprint="fp"),
    )
    answer = await whole(upstream, Box(clock="12:00"))
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "augmented/m"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "One moment.\n\nNoon."}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["system_fingerprint"] == "fp"
    assert answer["usage"]["total_tokens"] == 30
    assert "stream_options" not in upstream.requests[0]


async def test_text_is_sent_while_the_tool_is_running() -> None:
    gate = asyncio.Event()

    async def slow(arguments: Any, context: Any) -> str:
        await gate.wait()
        return "ok"

    answer = await start(turn(Upstream(asks(("c1", "slow", "{}"), text="Looking…"), says("Done.")), Box(slow=slow)))
    pieces = answer.stream()
    data = b""
    async with asyncio.timeout(PATIENCE):
        while "Looking…".encode() not in data:
            data += await anext(pieces)
    gate.set()
    rest = b"".join([piece async for piece in pieces])
    assert check(data + rest).content == "Looking…\n\nDone."


async def test_texts_of_two_rounds_are_separated_once() -> None:
    seen = check(await stream(Upstream(asks(("c1", "a", "{}"), text="Hm. "), says("Done.")), Box(a="1")))
    assert seen.content == "Hm. Done."


async def test_calls_run_concurrently_and_results_are_in_call_order() -> None:
    first_done, order = asyncio.Event(), []

    async def a(arguments: Any, context: Any) -> str:
        await first_done.wait()
        order.append("a")
        return "A"

    async def b(arguments: Any, context: Any) -> str:
        order.append("b")
        first_done.set()
        return "B"

    upstream = Upstream(asks(("1", "a", "{}"), ("2", "b", "{}")), says("ok"))
    async with asyncio.timeout(PATIENCE):
        await stream(upstream, Box(a=a, b=b))
    assert order == ["b", "a"]
    assert results(upstream.requests[1]) == [("1", "A"), ("2", "B")]


async def test_a_call_starts_while_the_model_writes_the_next_one() -> None:
    began = asyncio.Event()

    async def early(arguments: Any, context: Any) -> str:
        began.set()
        return "ok"

    deltas = [events(chunk(d), done=False) for d in call_deltas(("1", "early", '{"a":1}'), ("2", "early", '{"a":2}'))]
    rest = events(chunk({}, "tool_calls"), usage_event())
    upstream = Upstream(
        [*deltas[:4], began, *deltas[4:], rest], says("ok")
    )  # waits for the first call before it writes the second
    async with asyncio.timeout(PATIENCE):
        await stream(upstream, Box(early=early))
    assert results(upstream.requests[1]) == [("1", "ok"), ("2", "ok")]


async def test_interleaved_fragments_do_not_start_a_half_written_call() -> None:
    one, two = call_deltas(("1", "a", '{"x":1}')), call_deltas(("2", "a", '{"x":2}'))
    for delta in two:
        delta["tool_calls"][0]["index"] = 1
    mixed = [one[0], two[0], one[1], two[1], one[2], two[2]]
    box = Box(a="ok")
    await stream(Upstream(events(*map(chunk, mixed), chunk({}, "tool_calls")), says("ok")), box)
    assert box.ran == [("a", {"x": 1}), ("a", {"x": 2})]


async def test_errors_are_results_that_the_model_can_act_on() -> None:
    async def raises(arguments: Any, context: Any) -> str:
        raise RuntimeError("secret path /etc/x")

    async def hangs(arguments: Any, context: Any) -> str:
        await asyncio.Event().wait()
        return ""

    async def cancels(arguments: Any, context: Any) -> str:
        raise asyncio.CancelledError

    upstream = Upstream(
        asks(("1", "raises", "{}"), ("2", "hangs", "{}"), ("3", "nobody", "{}"), ("4", "hangs", "{bad"),
             ("5", "cancels", "{}")),
        says("Sorry."),
    )  # fmt: skip
    box = Box(raises=raises, hangs=hangs, cancels=cancels)
    watcher = Watcher()
    seen = check(await stream(upstream, box, settings={"tool_timeout": 0.05}, observer=watcher))
    assert seen.content == "Sorry."
    told = dict(results(upstream.requests[1]))
    assert told["1"] == "raises failed (RuntimeError)."
    assert "did not answer within" in told["2"]
    assert "no tool 'nobody'" in told["3"]
    assert "not valid JSON" in told["4"]
    assert told["5"] == "cancels was cancelled."
    assert {r.status for r in watcher.records} == {"error"}
    sent = upstream.requests[1]["messages"][1]["tool_calls"][3]["function"]["arguments"]
    assert sent == '{"invalid_json": "{bad"}', "some providers refuse a request with arguments that are not JSON"


async def test_a_forced_choice_applies_to_the_first_round_only() -> None:
    named = {"type": "function", "function": {"name": "a"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}
    for choice, later in (
        ("required", "auto"), (named, "auto"), ("auto", "auto"),
        (allowed, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
    ):  # fmt: skip
        upstream = Upstream(asks(("1", "a", "{}")), says("ok"))
        await stream(upstream, Box(a="1"), tool_choice=choice)
        assert [r["tool_choice"] for r in upstream.requests] == [choice, later]


async def test_a_call_of_the_clients_stays_required_after_calls_of_ours() -> None:
    theirs = {"type": "function", "function": {"name": "theirs", "parameters": {"type": "object"}}}
    upstream = Upstream(asks(("1", "a", "{}")), asks(("2", "a", "{}")), asks(("3", "theirs", "{}")))
    await stream(upstream, Box(a="1"), settings={"max_tool_rounds": 2}, tool_choice="required", tools=[theirs])
    assert [r["tool_choice"] for r in upstream.requests] == ["required"] * 3
    assert [len(r["tools"]) for r in upstream.requests] == [2, 2, 1], "the last round offers only the client's tool"


async def test_choice_none_offers_nothing_unless_the_transcript_needs_it() -> None:
    upstream = Upstream(says("ok"), says("ok"))
    await stream(upstream, Box(a="1"), tool_choice="none")
    history = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "1"}]}]
    await stream(upstream, Box(a="1"), tool_choice="none", messages=history)
    assert "tools" not in upstream.requests[0]
    assert upstream.requests[1]["tools"]
    assert upstream.requests[1]["tool_choice"] == "none"


async def test_usage_is_summed_with_details_and_shown_only_on_request() -> None:
    script = (asks(("1", "a", "{}")), says("ok"))
    upstream = Upstream(*script)
    seen = check(await stream(upstream, Box(a="1")))
    assert seen.usage is None
    assert all(r["stream_options"] == {"include_usage": True} for r in upstream.requests)
    options = {"include_usage": True, "x": 1}
    upstream = Upstream(*script)
    seen = check(await stream(upstream, Box(a="1"), stream_options=options), usage_asked=True)
    assert seen.usage == {
        "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30, "prompt_tokens_details": {"cached_tokens": 8}
    }  # fmt: skip
    assert upstream.requests[0]["stream_options"] == options


async def test_reasoning_and_signatures_are_returned_to_the_provider() -> None:
    delta = call_deltas(("1", "a", "{}"))
    delta[0]["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "sig"}}
    first = [
        {"reasoning_content": "th"},
        {"reasoning_content": "ink", "reasoning_details": [{"index": 0, "data": "="}]},
    ]
    last = chunk({"reasoning_details": [{"index": 0, "data": "+"}]})
    upstream = Upstream(
        events(*map(chunk, [*first, *delta]), chunk({}, "tool_calls")), events(last, chunk({"content": "ok"}, "stop"))
    )
    data = await stream(upstream, Box(a="1"))
    assert b'"data":"="' not in data, "reasoning of a hidden call reached the client"
    assert b'"data":"+"' in data
    seen = check(data)
    message = upstream.requests[1]["messages"][1]
    assert message["reasoning_content"] == "think"
    assert message["reasoning_details"] == [{"index": 0, "data": "="}]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert seen.reasoning == "think"


async def test_stripped_reasoning_is_only_hidden_from_the_client() -> None:
    first = events(
        chunk({"reasoning_content": "hm"}), chunk({"reasoning": "hm", "content": "<think>x</th"}),
        chunk({"content": "ink>Hi"}), *map(chunk, call_deltas(("1", "a", "{}"))), chunk({}, "tool_calls"),
    )  # fmt: skip
    upstream = Upstream(first, says("!"))
    data = await stream(upstream, Box(a="1"), settings={"reasoning": "strip"})
    assert b"hm" not in data
    assert check(data).content == "Hi\n\n!"
    sent = upstream.requests[1]["messages"][1]
    assert (sent["reasoning_content"], sent["content"]) == ("hm", "<think>x</think>Hi")


async def test_think_tags_in_the_text_become_reasoning() -> None:
    seen = check(await stream(Upstream(says("<think>Hm, hm.</think>Paris")), Box(a="1")))
    assert (seen.content, seen.reasoning) == ("Paris", "Hm, hm.")
    answer = await whole(Upstream(completion({"content": "<think>Hm</think>Paris"})), Box(a="1"))
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Paris", "Hm")


async def test_several_choices_pass_without_a_loop() -> None:
    both = [
        {**chunk({}), "choices": [{"index": i, "delta": {"content": t}, "finish_reason": None}]}
        for i, t in ((1, "b"), (0, "a"))
    ]
    ends = [{**chunk({}), "choices": [{"index": i, "delta": {}, "finish_reason": "stop"}]} for i in (0, 1)]
    upstream = Upstream(events(*both, *ends))
    data = await stream(upstream, Box(a="1"), n=2)
    assert "tools" not in upstream.requests[0]
    assert data.count(b'"finish_reason":"stop"') == 2
    body = completion({"content": "a"})
    answer = await whole(Upstream(body), Box(a="1"), n=1)
    assert answer["choices"][0]["message"]["content"] == "a"


async def test_of_two_tools_with_one_name_the_clients_own_is_used() -> None:
    upstream = Upstream(asks(("1", "theirs", "{}")))
    box = Box(theirs="ours", other="x")
    seen = check(await stream(upstream, box, tools=[CLIENT_TOOL]))
    assert [c["id"] for c in seen.calls] == ["1"]
    assert box.ran == []
    assert [t["function"]["name"] for t in upstream.requests[0]["tools"]] == ["other", "theirs"]


async def test_execute_tools_runs_what_the_client_offers_and_we_have() -> None:
    offered = [CLIENT_TOOL, {"type": "function", "function": {"name": "clock"}}]
    upstream = Upstream(asks(("1", "clock", "{}")), asks(("2", "theirs", "{}")))
    box = Box(clock="12:00", hidden="x")
    seen = check(await stream(upstream, box, tools=offered, offered_only=True))
    assert upstream.requests[0]["tools"] == offered
    assert [c["id"] for c in seen.calls] == ["2"]
    assert box.ran == [("clock", {})]


async def test_a_plain_models_calls_of_unoffered_tools_are_passed_on() -> None:
    seen = check(await stream(Upstream(asks(("1", "hidden", "{}"))), Box(hidden="x"), offered_only=True))
    assert [c["id"] for c in seen.calls] == ["1"]


async def test_errors_before_the_first_answer_are_raised() -> None:
    with pytest.raises(UpstreamUnreachable):
        await start(turn(Upstream(UpstreamUnreachable("gone")), Box(a="1")))
    with pytest.raises(UpstreamRefused) as caught:
        await start(turn(Upstream(Response([b'{"error":{"message":"slow down"}}'], status=429)), Box(a="1")))
    assert (caught.value.status, caught.value.body) == (429, b'{"error":{"message":"slow down"}}')
    assert caught.value.extra == {}


async def test_after_a_tool_has_acted_a_failure_discourages_retries() -> None:
    refused = Response([b'{"error":{"message":"slow down","code":"rate"}}'], status=429)
    for answer in (refused, UpstreamUnreachable("gone")):
        with pytest.raises((UpstreamRefused, UpstreamUnreachable)) as caught:
            await whole(Upstream(whole_calls(("1", "a", "{}")), answer), Box(a="1"))
        error: Any = caught.value
        assert getattr(error, "extra", None) or error.headers == {"x-should-retry": "false"}
    with pytest.raises(UpstreamError) as plain:
        await whole(Upstream(completion({"content": "x"}, error={"message": "boom"})), Box(a="1"))
    assert plain.value.headers == {}


async def test_the_providers_refusal_in_a_later_round_ends_the_stream() -> None:
    refused = Response([b'{"error":{"message":"slow down","type":"rate_limit","code":"rate"}}'], status=429)
    seen = check(await stream(Upstream(asks(("1", "a", "{}")), refused), Box(a="1")))
    assert seen.error == {"message": "slow down", "type": "rate_limit", "param": None, "code": "rate"}
    seen = check(await stream(Upstream(asks(("1", "a", "{}")), Response([b"<html>"], status=500)), Box(a="1")))
    assert seen.error is not None
    assert "answered 500" in seen.error["message"]


async def test_the_observer_gets_states_and_calls() -> None:
    watcher = Watcher()
    await stream(Upstream(asks(("1", "a", '{"x":1}')), says("ok")), Box(a="result"), observer=watcher)
    assert watcher.states == ["waiting", "tools", "waiting", "streaming"]
    (record,) = watcher.records
    assert (record.id, record.tool, record.arguments, record.result) == ("1", "a", '{"x":1}', "result")
    assert record.status == "ok"


async def test_tools_get_their_context() -> None:
    contexts = []

    async def a(arguments: Any, context: Any) -> str:
        contexts.append(context)
        return "ok"

    await stream(Upstream(asks(("1", "a", "{}")), says("ok")), Box(a=a), caller="me", meta={"device": "d"})
    assert [(c.request_id, c.caller, c.meta) for c in contexts] == [("r1", "me", {"device": "d"})]


async def test_every_answer_is_released() -> None:
    upstream = Upstream(asks(("1", "a", "{}")), says("ok"))
    await stream(upstream, Box(a="1"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert all(r.closed and r.ended for r in upstream.responses)


async def test_missing_usage_is_not_invented() -> None:
    upstream = Upstream(events(chunk({"content": "x"}), chunk({}, "stop")))
    seen = check(await stream(upstream, Box(a="1"), stream_options={"include_usage": True}), usage_asked=True)
    assert seen.usage is None
    assert USAGE["total_tokens"] == 15
