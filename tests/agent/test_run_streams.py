"""What a client sees of a stream: the grammar of contract §4, whatever the provider sent and however it was cut."""

import asyncio
import gc
import itertools
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_proxy.agent.run import start
from tests.agent.grammar import Seen, check
from tests.agent.support import (
    BROKEN,
    CLIENT_TOOL,
    USAGE,
    Box,
    Upstream,
    asks,
    call_deltas,
    chunk,
    completion,
    events,
    says,
    stream,
    turn,
    usage_event,
    whole_calls,
)

RECORDED = Path(__file__).parents[2].parent / "shared" / "recorded" / "openai-chat"


async def through(data: bytes, *cuts: int, names: tuple[str, ...] = (), **given: Any) -> bytes:
    """Run the loop with `data` cut at `cuts`; `names` are tools of ours, all other calls are the client's."""
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    box = Box(**dict.fromkeys(names, "ok")) if names else None
    return await stream(Upstream(pieces, *([says("Done.")] * 4)), box, **given)


def accepted_by_the_openai_client(data: bytes) -> None:
    from openai.lib.streaming.chat._completions import ChatCompletionStreamState
    from openai.types.chat import ChatCompletionChunk

    state: Any = ChatCompletionStreamState()
    for block in data.decode().split("\n\n"):
        if block.startswith("data: {") and '"error"' not in block[:16]:
            list(state.handle_chunk(ChatCompletionChunk.model_validate_json(block[6:])))
    final = state.get_final_completion()
    assert final.choices[0].finish_reason


ODD = {
    "usage in a chunk with choices": events(chunk({"content": "Hi"}), chunk({}, "stop", usage=USAGE)),
    "a repeated finish": events(chunk({"content": "Hi"}), chunk({}, "stop"), chunk({"content": ""}, "stop")),
    "no [DONE]": events(chunk({"content": "Hi"}), chunk({}, "stop"), done=False),
    "finish with the text": events(chunk({"content": "Hi"}, "stop")),
    "role in every delta": events(
        chunk({"role": "assistant", "content": "H"}), chunk({"role": "assistant", "content": "i"}, "stop")
    ),
    "comments and crlf": b": PROCESSING\r\n\r\n"
    + events(chunk({"content": "Hi"}), chunk({}, "stop")).replace(b"\n", b"\r\n"),
    "null members": events(
        chunk({"content": "Hi", "refusal": None, "tool_calls": None, "function_call": None}),
        chunk({"content": None}, "stop", usage=None),
    ),
    "content in lists": events(chunk({"content": [{"type": "text", "text": "Hi"}]}), chunk({}, "stop")),
    "whole completion although a stream was requested": completion({"content": "Hi"}),
    "finish tool_calls without a call": events(chunk({"content": "Hi"}), chunk({}, "tool_calls")),
    "no blank line at the end": events(chunk({"content": "Hi"}), chunk({}, "stop"), done=False)[:-2],
    "garbage after the finish": [events(chunk({"content": "Hi"}), chunk({}, "stop"), done=False), BROKEN],
    "choices missing or null": events({"x": 1}, {**chunk({}), "choices": None}, chunk({"content": "Hi"}, "stop")),
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_streams_are_cleaned(name: str) -> None:
    for box in (None, Box(a="1")):
        answer = ODD[name]
        data = await stream(Upstream(list(answer) if isinstance(answer, list) else answer), box)
        seen = check(data)
        assert (seen.content, seen.finish) == ("Hi", "stop")
        accepted_by_the_openai_client(data)


ODD_CALLS = {
    "no index, no id": [{"tool_calls": [{"function": {"name": "theirs", "arguments": "{}"}}]}] * 2,
    "two in one chunk": [
        {"tool_calls": [d["tool_calls"][0] for d in call_deltas(("1", "theirs", ""), ("2", "theirs", ""))]}
    ],
    "interleaved, empty arguments": [
        call_deltas(("1", "theirs", ""), ("2", "theirs", ""))[i] for i in (0, 1)
    ],
    "arguments null": [
        {"tool_calls": [{"index": i, "id": f"c{i}", "function": {"name": "theirs", "arguments": None}}]} for i in (0, 1)
    ],
    "index from 1": [
        {"tool_calls": [{"index": i, "id": f"c{i}", "function": {"name": "theirs", "arguments": "{}"}}]} for i in (1, 2)
    ],
}  # fmt: skip


@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
@pytest.mark.parametrize("name", ODD_CALLS)
async def test_odd_calls_reach_the_client_complete_and_in_sequence(name: str, finish: str) -> None:
    upstream = Upstream(events(*map(chunk, ODD_CALLS[name]), chunk({}, finish), usage_event()))
    data = await stream(upstream, Box(a="1"), tools=[CLIENT_TOOL], stream_options={"include_usage": True})
    seen = check(data, usage_asked=True)
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in seen.calls] == [("theirs", "{}")] * 2
    assert seen.finish == "tool_calls"
    assert len({c["id"] for c in seen.calls}) == 2
    accepted_by_the_openai_client(data)


FAILURES = {
    "no finish": (events(chunk({"content": "Hi"})), "upstream_incomplete"),
    "no finish, no [DONE]": (events(chunk({"content": "Hi"}), done=False), "upstream_incomplete"),
    "nothing at all": (b"", "upstream_incomplete"),
    "cut within an event": (events(chunk({"content": "Hi"}), chunk({}, "stop"))[:-60], "upstream_incomplete"),
    "broken off": ([events(chunk({"content": "Hi"}), done=False), BROKEN], "upstream_truncated"),
    "error in band": (events(chunk({"content": "Hi"}), {"error": {"message": "boom", "code": 400}}), "400"),
    "error beside choices": (events({**chunk({"content": "Hi"}), "error": {"message": "boom"}}), "upstream_error"),
    "error as a named event": (b'event: error\ndata: {"error": {"message": "boom"}}\n\n', "upstream_error"),
    "finish error": (events(chunk({"content": "Hi"}), chunk({}, "error")), "upstream_error"),
    "not json": (b"data: {oops\n\ndata: [DONE]\n\n", "upstream_invalid_response"),
    "not an object": (b"data: [1]\n\n", "upstream_invalid_response"),
    "a call without end": (events(*map(chunk, call_deltas(("1", "theirs", '{"a":1}')))), "upstream_incomplete"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_broken_streams_end_with_an_error_and_no_done(name: str) -> None:
    script, code = FAILURES[name]
    for answers in ([script], [asks(("1", "a", "{}")), script]):
        fresh = [list(a) if isinstance(a, list) else a for a in answers]
        seen = check(await stream(Upstream(*fresh), Box(a="1"), tools=[CLIENT_TOOL]))
        assert seen.error is not None
        assert seen.error["code"] == code
        assert seen.calls == []


async def test_envelope_members_and_logprobs_pass_on() -> None:
    logprobs = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    first = chunk({"content": "Hi"}, service_tier="default", x_groq={"id": "x"}, obfuscation="xyz")
    first["choices"][0]["logprobs"] = logprobs
    data = await stream(Upstream(events(first, chunk({}, "stop"))), Box(a="1"))
    check(data)
    assert b'"service_tier":"default"' in data
    assert b'"logprobs":{"content":[{"token":"Hi"' in data
    assert b"x_groq" not in data
    assert b"obfuscation" not in data


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="<"), min_size=1, max_size=8)
CALLS = st.tuples(st.sampled_from(["a", "theirs", "nobody"]), st.sampled_from(["", "{}", '{"x":1}', '{"x":', "[1]"]))


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]], bytes]:
    """A provider's answer: its text, its calls, its bytes with random oddities."""
    texts = draw(st.lists(TEXTS, max_size=3))
    calls = draw(st.lists(CALLS, max_size=3))
    with_ids, with_index = draw(st.booleans()), draw(st.booleans())
    deltas: list[dict[str, Any]] = [{"content": text} for text in texts]
    for delta in call_deltas(*((f"id{i}", name, arguments) for i, (name, arguments) in enumerate(calls))):
        entry = delta["tool_calls"][0]
        if not with_ids and with_index:
            entry.pop("id", None)
        if not with_index:
            entry.pop("index")
        deltas.append(delta)
    finish = "tool_calls" if calls and draw(st.booleans()) else "stop"
    tail = draw(st.sampled_from([[], [usage_event()], [chunk({}, finish)]]))
    data = events(*map(chunk, deltas), chunk({}, finish), *tail, done=draw(st.booleans()))
    if draw(st.booleans()):
        data = data.replace(b"\n", b"\r\n")
    return "".join(texts), calls, data


@settings(max_examples=60)
@given(answers(), st.data())
def test_generated_answers_under_any_cuts(
    answer: tuple[str, list[tuple[str, str]], bytes], data: st.DataObject
) -> None:
    text, calls, sent = answer
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=8))
    out = asyncio.run(through(sent, *cuts, names=("a",), tools=[CLIENT_TOOL]))
    seen = check(out)
    theirs = [(name, arguments or "{}") for name, arguments in calls if name == "theirs"]
    assert seen.error is None
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in seen.calls] == theirs
    assert seen.content.startswith(text)
    assert seen.content.removeprefix(text).strip() == ("Done." if calls and not theirs else "")
    accepted_by_the_openai_client(out)


SAMPLES = {
    "text": says("<think>Hm, é…</think>Grüße"),
    "calls": asks(("1", "a", '{"x":"é"}'), ("2", "theirs", "{}"), text="Hm"),
    "in band": events(chunk({"content": "Hi"}), {"error": {"message": "boom"}}),
}


@pytest.mark.parametrize("name", SAMPLES)
async def test_every_cut_gives_the_same(name: str) -> None:
    data = SAMPLES[name]
    expected = check(await through(data, names=("a",), tools=[CLIENT_TOOL]))
    for cut in range(len(data)):
        assert check(await through(data, cut, names=("a",), tools=[CLIENT_TOOL])) == expected
    assert check(await through(data, *range(len(data)), names=("a",), tools=[CLIENT_TOOL])) == expected


async def test_list_members_get_the_index_that_the_openai_client_needs() -> None:
    cited = [chunk({"annotations": [{"type": "url_citation", "url": u}]}) for u in ("a", "b")]
    data = await stream(Upstream(events(*cited, chunk({"content": "Hi"}, "stop"))), Box(a="1"))
    accepted_by_the_openai_client(data)
    assert b'"url":"b","index":1' in data
    numbered = chunk({"reasoning_details": [{"index": 0, "text": "x"}]})
    data = await stream(Upstream(events(numbered, numbered, chunk({}, "stop"))), Box(a="1"))
    assert data.count(b'"index":0,"text":"xx"') == 1


async def test_recorded_streams_of_real_providers() -> None:
    files = sorted(RECORDED.glob("*.sse"))
    if not files:
        pytest.skip(f"no recorded streams at {RECORDED}")
    failed = []
    for number, file in enumerate(files):
        data = file.read_bytes()
        names = _called(data)
        for ours in {(), names}:
            expected = check(await through(data, names=ours))
            _compare(data, expected, ours)
            # Every seventh byte, at another offset in each file: together the files are cut everywhere.
            cuts = range(number % 7, len(data), 7 if len(data) < 3000 else max(1, len(data) // 40))
            for cut in cuts:
                assert check(await through(data, cut, names=ours)) == expected, (file.name, cut)
            if expected.error is None:
                accepted_by_the_openai_client(await through(data, names=ours))
        if expected.error is not None:
            failed.append(file.name)
    assert {name.split("-")[0] for name in failed} <= {
        "test_openrouter_stream_error",
        "test_tool_use_failed_error_streaming",
        "test_tool_use_failed_error_streaming_with_text",
        "test_snowflake_model_streaming",  # never sends a finish_reason
    }


def _chunks(data: bytes) -> list[dict[str, Any]]:
    lines = [line[5:].strip() for line in data.splitlines() if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line.startswith(b"{")]


def _called(data: bytes) -> tuple[str, ...]:
    entries = [e for c in _chunks(data) for h in c.get("choices") or () for e in h["delta"].get("tool_calls") or ()]
    return tuple(dict.fromkeys(e["function"]["name"] for e in entries if e.get("function", {}).get("name")))


def _compare(data: bytes, seen: Seen, ours: tuple[str, ...]) -> None:
    """Check that the text is unchanged, and that calls of ours are hidden."""
    contents = [h["delta"].get("content") for c in _chunks(data) for h in c.get("choices") or ()]
    text = "".join(c for c in contents if isinstance(c, str))
    if "<think>" not in text and all(c is None or isinstance(c, str) for c in contents):
        assert seen.content.startswith(text)
    if ours:
        assert seen.calls == []
    elif seen.error is None:
        assert {c["function"]["name"] for c in seen.calls} == set(_called(data))


async def test_a_client_that_does_not_stream_gets_the_same() -> None:
    upstream = Upstream(whole_calls(("1", "theirs", ""), ("2", "a", "{}"), text="Hm"))
    answer = await start(turn(upstream, Box(a="1"), stream=False, tools=[CLIENT_TOOL]))
    choice = (await answer.completion())["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Hm"
    assert [(c["id"], c["function"]["arguments"]) for c in choice["message"]["tool_calls"]] == [("1", "{}")]


async def test_chunks_are_not_kept_while_the_client_does_not_read() -> None:
    """As objects, chunks take ten times the memory of the bytes that wait to be sent."""
    text = "this is in no other object of the process"
    data = events(chunk({"content": text}), chunk({}, "stop"))
    async with aclosing((await start(turn(Upstream([data])))).stream()) as pieces:
        sent = b""
        while text.encode() not in sent:
            sent += await anext(pieces)
        choices = [one for one in gc.get_objects() if type(one) is dict and type(one.get("delta")) is dict]
        assert not [one for one in choices if one["delta"].get("content") == text]
