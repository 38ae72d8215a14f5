"""The repairs of Google's answers. No recorded stream of that endpoint is available: the chunks follow bug reports."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from openai_proxy.dialects.base import Lesson
from openai_proxy.dialects.chat.google.repair import StreamRepair, repair_completion, unwrap_error
from openai_proxy.dialects.chat.google.request import adapt
from openai_proxy.dialects.chat.google.signatures import SENTINEL, Signatures, needs_signatures
from openai_proxy.dialects.sse import EventSplitter
from tests.upstream.scripted import cuts

USER = {"role": "user", "content": "hi"}
SIGNED = {"google": {"thought_signature": "c2ln"}}


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": delta}
    if finish:
        choice["finish_reason"] = finish
    payload = {"choices": [choice], "created": 1, "id": "x", "model": "g", "object": "chat.completion.chunk"}
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def call(arguments: str | None = None, name: str | None = None, **more: Any) -> dict[str, Any]:
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    return {"tool_calls": [{**more, "function": function}]}


def repaired(stream: bytes, signatures: Signatures | None = None) -> bytes:
    repair = StreamRepair(Signatures() if signatures is None else signatures)
    return repair.feed(stream) + repair.end()


def client_reads(stream: bytes) -> tuple[list[tuple[str, str, Any]], Any]:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for event in EventSplitter().feed(stream):
        if event.data != b"[DONE]":
            state.handle_chunk(ChatCompletionChunk.model_validate_json(event.data))
    choice = state.current_completion_snapshot.choices[0]
    calls = choice.message.tool_calls or ()
    return [(c.id, c.function.name, orjson.loads(c.function.arguments)) for c in calls], choice.finish_reason


PLAIN = (
    b": comment\r\n\r\n" + chunk({"content": 'the words tool_calls and "error" data: x', "role": "assistant"})
    + chunk({"content": "x"}, "stop").replace(b"\n\n", b"\r\n\r\n") + b"data: [DONE]\n\n"
)  # fmt: skip


def test_a_stream_without_calls_keeps_every_byte():
    for pieces in cuts(PLAIN, seed=4):
        repair = StreamRepair(Signatures())
        assert b"".join(map(repair.feed, pieces)) + repair.end() == PLAIN


@given(st.binary(max_size=300), st.integers(0, 300))
def test_a_body_that_is_not_a_stream_keeps_every_byte(data: bytes, cut: int):
    repair = StreamRepair(Signatures())
    assert repair.feed(data[:cut]) + repair.feed(data[cut:]) + repair.end() == data


def test_a_correct_stream_with_calls_keeps_every_byte():
    sound = (
        chunk(call("", "f", index=0, id="a", type="function")) + chunk(call("{}", index=0)) + chunk({}, "tool_calls")
    )
    assert repaired(sound) == sound


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        # whole calls, no index, one delta each
        ([call('{"a":1}', "f", id="i1"), call('{"b":2}', "g", id="i2")], [("f", {"a": 1}), ("g", {"b": 2})]),
        # no ids either
        ([call('{"a":1}', "f", id=""), call('{"b":2}', "f")], [("f", {"a": 1}), ("f", {"b": 2})]),
        # arguments in pieces without index
        ([call("", "f", id="i1"), call('{"a"'), call(":1}")], [("f", {"a": 1})]),
        # two calls that share one index
        ([call('{"a":1}', "f", id="i1", index=0), call('{"b":2}', "g", id="i2", index=0)],
         [("f", {"a": 1}), ("g", {"b": 2})]),
        # two calls in one delta, indices from 1
        ([{"tool_calls": [{"index": 1, "id": "p", "function": {"name": "f", "arguments": "{}"}},
                          {"index": 2, "id": "q", "function": {"name": "g", "arguments": "{}"}}]}],
         [("f", {}), ("g", {})]),
    ],
)  # fmt: skip
def test_calls_get_index_id_and_finish(stream: list[Any], expected: list[Any]):
    raw = b"".join(map(chunk, stream)) + chunk({"content": ""}, "stop") + b"data: [DONE]\n\n"
    made = repaired(raw)
    calls, finish = client_reads(made)
    assert [(name, arguments) for _, name, arguments in calls] == expected
    assert len({call_id for call_id, _, _ in calls if call_id}) == len(expected)
    assert finish == "tool_calls"
    if all("id" in entry and entry["id"] for delta in stream for entry in delta["tool_calls"] if "name" in
           entry["function"]):  # fmt: skip
        for pieces in cuts(raw, seed=5):
            repair = StreamRepair(Signatures())
            assert b"".join(map(repair.feed, pieces)) + repair.end() == made


def test_signatures_are_remembered_wherever_they_are():
    signatures = Signatures()
    repaired(
        chunk(call("{}", "f", id="a", extra_content=SIGNED)) + chunk(call("{}", "g", id="b"))
        + chunk({"extra_content": {"google": {"thought_signature": "bGF0ZQ"}}}),
        signatures,
    )  # fmt: skip
    assert signatures.get("a") == SIGNED
    assert signatures.get("b") == {"google": {"thought_signature": "bGF0ZQ"}}
    assert signatures.get("c") is None


def test_an_error_in_mid_stream_has_openais_format():
    error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
    for shape in ([{"error": error}], {"error": error}):
        made = repaired(chunk({"content": "a"}) + b"data: " + orjson.dumps(shape) + b"\n\n")
        last = orjson.loads(EventSplitter().feed(made)[-1].data)
        assert last["error"]["message"] == "The model is overloaded."
        assert last["error"]["code"] == "unavailable"
    sound = b'data: {"error":{"message":"x","type":"y","code":null}}\n\n'
    assert repaired(sound) == sound


def test_a_whole_answer_is_repaired_only_where_necessary():
    signatures = Signatures()
    entry = {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": SIGNED}
    message = {"role": "assistant", "tool_calls": [entry]}
    body = orjson.dumps({"choices": [{"finish_reason": "stop", "index": 0, "message": message}], "x": 1})
    made = orjson.loads(repair_completion(body, signatures))
    call_id = made["choices"][0]["message"]["tool_calls"][0]["id"]
    assert call_id.startswith("call_")
    assert signatures.get(call_id) == SIGNED
    assert made["choices"][0]["finish_reason"] == "tool_calls"
    assert made["x"] == 1
    for sound in (b'{"choices": [ ]}', b'{"tool_calls" broken', orjson.dumps(made)):
        assert repair_completion(sound, signatures) is sound


def test_errors_are_unwrapped_and_their_delay_is_found():
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
    error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [detail]}
    body, delay = unwrap_error(orjson.dumps([{"error": error}]))
    assert orjson.loads(body)["error"] == {
        "message": "quota", "type": "rate_limit_error", "param": None, "code": "resource_exhausted",
    }  # fmt: skip
    assert delay == 34.4
    for other in (b"<html>", b"[]", b'{"detail":"x"}', b'{"error":{"type":"t","message":"m"}}'):
        assert unwrap_error(other) == (other, None)


def test_requests_lose_the_prefix_and_refused_members():
    chat = {"model": "models/gemini-2.5-pro", "messages": [USER], "frequency_penalty": 0.5, "store": False, "seed": 3}
    edits = adapt(chat, Lesson(), Signatures())
    assert edits.replace == {"model": "gemini-2.5-pro"}
    assert edits.remove == ["frequency_penalty", "store"]
    assert edits.dropped == ["frequency_penalty"]
    plain = adapt({"model": "gemini-3-flash", "messages": [USER]}, Lesson(frozenset({"seed"})), Signatures())
    assert (plain.replace, plain.remove) == ({}, [])


def test_a_refused_member_is_omitted_next_time():
    learnt = Lesson(frozenset({"seed", "messages[].content[].cache_control"}))
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {}}]
    chat = {"model": "g", "messages": [{"role": "user", "content": parts}, USER], "seed": 1}
    edits = adapt(chat, learnt, Signatures())
    assert edits.remove == ["seed"]
    assert edits.replace["messages"][0]["content"] == [{"type": "text", "text": t} for t in "ab"]
    assert chat["messages"][0]["content"][1]["cache_control"] == {}
    assert adapt(chat, Lesson(frozenset({"messages", "model", "nothing[].x"})), Signatures()).remove == []


def history(*calls: dict[str, Any]) -> list[Any]:
    return [USER, {"role": "assistant", "tool_calls": list(calls)}, {"role": "tool", "content": "r"}]


def test_signatures_are_restored():
    signatures = Signatures()
    signatures.put("a", SIGNED)
    first, second = {"id": "a", "function": {}}, {"id": "b", "function": {}}
    made = adapt({"model": "gemini-3-pro", "messages": history(first, second)}, Lesson(), signatures).replace[
        "messages"
    ]
    assert made[1]["tool_calls"] == [{**first, "extra_content": SIGNED}, second]
    kept = adapt({"model": "gemini-3-pro", "messages": made}, Lesson(), signatures)
    assert kept.replace == {}


def test_an_unknown_signature_of_the_current_turn_becomes_the_sentinel():
    turns = history({"id": "zz", "function": {}})
    made = adapt({"model": "gemini-3-pro", "messages": turns}, Lesson(), Signatures()).replace["messages"]
    assert made[1]["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": SENTINEL}}
    for model, messages in (("gemini-2.5-pro", turns), ("gemini-3-pro", [*turns, USER]), ("gemma-3", turns)):
        assert adapt({"model": model, "messages": messages}, Lesson(), Signatures()).replace == {}
    fresh = adapt({"model": "gemini-3-pro", "messages": history({"id": "a", "extra_content": SIGNED})}, Lesson(),
                  Signatures(), fresh_signatures=True)  # fmt: skip
    assert SENTINEL.encode() in fresh.as_json()["messages"]


def test_the_memory_of_signatures_is_bounded():
    signatures = Signatures(max_entries=2)
    for name in "abc":
        signatures.put(name, SIGNED)
    assert (signatures.get("a"), len(signatures)) == (None, 2)
    small = Signatures(max_bytes=100)
    for name in "abcdef":
        small.put(name, SIGNED)
    assert len(small) == 2
    small.put("x", {"google": {"thought_signature": "y" * 200}})
    small.put(None, SIGNED)
    assert len(small) == 2


@pytest.mark.parametrize(
    ("model", "needed"),
    [("gemini-3-flash-preview", True), ("models/gemini-3.1-pro", True), ("gemini-flash-latest", True),
     ("gemini-2.5-flash", False), ("gemini-1.5-pro", False), ("gemma-3-27b", False), ("gemini-20", True)],
)  # fmt: skip
def test_which_models_need_signatures(model: str, needed: bool):
    assert needs_signatures(model) is needed
