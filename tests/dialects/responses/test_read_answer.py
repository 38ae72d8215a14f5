"""Providers' Responses answers as chat chunks: differences between vendors, and recorded streams."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from openai_proxy.dialects.base import Lessons, OutgoingRequest
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.responses.dialect import DIALECT
from openai_proxy.dialects.responses.read_answer import ResponsesReader
from openai_proxy.dialects.responses.reasoning import FORMAT
from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated
from tests.dialects.responses.chunks import check, events, writer

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "recorded" / "openai-responses"
STREAMS = sorted(RECORDED.glob("*.sse"))
RESPONSE = {"id": "resp_1", "created_at": 7, "model": "dated", "status": "in_progress", "output": []}
CREATED = {"type": "response.created", "response": RESPONSE}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": ""}


def reader() -> ResponsesReader:
    return DIALECT.read_answer(OutgoingRequest("/responses", {"model": "m"}))


def wire(*found: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in found)


def completed(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 3,
             "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 8}  # fmt: skip
    response = {**RESPONSE, "status": "completed", "output": list(output), "usage": usage, **more}
    return {"type": f"response.{response['status']}", "response": response}


def added(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(kind: str, piece: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": piece, **more}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {**MESSAGE, "content": [{"type": "output_text", "text": text, "annotations": []}], **more}


def chunks_of(data: bytes, *cuts: int) -> list[dict[str, Any]]:
    made = reader()
    chunks = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        chunks += made.feed(data[start:end])
    return chunks + made.end()


def folded(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole message, as both the vendor's own accumulator and our fold read it."""
    state: Any = ChatCompletionStreamState()
    fold = MessageFold()
    for chunk in chunks:
        assert "error" not in chunk, chunk
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
        fold.feed(chunk)
    vendor = state.current_completion_snapshot.choices[0]
    message = fold.message(think=False)
    assert (vendor.message.content or "") == (message["content"] or "")
    calls = [call.function.arguments for call in vendor.message.tool_calls or () if call.type == "function"]
    assert calls == [c["function"]["arguments"] for c in message.get("tool_calls", ()) if c["type"] == "function"]
    return {**message, "finish": fold.finish_reason, "usage": fold.usage}


def read(*found: dict[str, Any]) -> dict[str, Any]:
    return folded(chunks_of(wire(CREATED, *found)))


def test_a_text() -> None:
    data = wire(CREATED, added(MESSAGE), delta("output_text", "Hel"), delta("output_text", "lo"), done(said("Hello")),
                completed(said("Hello"), service_tier="flex"))  # fmt: skip
    chunks = chunks_of(data)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {(c["id"], c["created"], c["model"]) for c in chunks} == {("resp_1", 7, "dated")}
    assert chunks[-2]["service_tier"] == "flex"
    made = folded(chunks)
    assert (made["content"], made["finish"]) == ("Hello", "stop")
    assert made["usage"] == {
        "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1},
    }  # fmt: skip


def test_a_call_sets_the_finish_reason_of_a_completed_answer() -> None:
    made = read(added(CALL), delta("function_call_arguments", '{"a":'), delta("function_call_arguments", "1}"),
                done({**CALL, "arguments": '{"a":1}'}), completed())  # fmt: skip
    assert made["finish"] == "tool_calls"
    assert made["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


@pytest.mark.parametrize(
    "found",
    [
        [added(CALL), {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'}],
        [added(CALL), done({**CALL, "arguments": '{"a":1}'})],
        [done({**CALL, "arguments": '{"a":1}'})],
        [added({**CALL, "arguments": '{"a":1}'}), delta("function_call_arguments", '{"a":1}'),
         done({**CALL, "arguments": '{"a":1}'})],
        [added(CALL), delta("function_call_arguments", '{"a"'), done({**CALL, "arguments": '{"a":1}'})],
        [added(CALL), delta("function_call_arguments", '{"a"')],
        [],
    ],
    ids=["done event", "item only", "not added", "filled when added", "half a delta", "not done", "last event"],
)  # fmt: skip
def test_arguments_are_read_once_wherever_they_are(found: list[dict[str, Any]]) -> None:
    made = read(*found, completed({**CALL, "arguments": '{"a":1}'}))
    assert [call["function"]["arguments"] for call in made["tool_calls"]] == ['{"a":1}']


def test_a_call_without_arguments_has_an_empty_object() -> None:
    chunks = chunks_of(wire(CREATED, added(CALL), done(CALL), completed(CALL)))
    pieces = [e["function"]["arguments"] for c in chunks if c["choices"] for e in c["choices"][0]["delta"].get(
        "tool_calls", ())]  # fmt: skip
    assert pieces == ["", "{}"]


def test_texts_without_deltas_are_taken_from_the_items() -> None:
    assert read(added(MESSAGE), done(said("x")), completed())["content"] == "x"
    assert read(completed(said("x")))["content"] == "x"


def test_commentary_is_not_repeated() -> None:
    way = {**MESSAGE, "phase": "commentary"}
    end = {**MESSAGE, "id": "msg_2", "phase": "final_answer"}
    made = read(added(way), delta("output_text", "Four."), done(said("Four.", phase="commentary")),
                added(end, 1), delta("output_text", "Four.", 1), done(said("Four."), 1), completed())  # fmt: skip
    assert made["content"] == "Four."
    assert made["reasoning_content"] == "Four."


def test_commentary_without_an_answer_becomes_the_answer() -> None:
    made = read(added({**MESSAGE, "phase": "commentary"}), delta("output_text", "Four."), completed())
    assert made["content"] == "Four."


def test_a_refusal() -> None:
    assert read(added(MESSAGE), delta("refusal", "No"), completed())["refusal"] == "No"
    assert read(done({**MESSAGE, "content": [{"type": "refusal", "refusal": "No"}]}), completed())["refusal"] == "No"


def test_the_parts_of_a_summary_are_paragraphs() -> None:
    rs = {"id": "rs_1", "type": "reasoning", "summary": []}
    made = read(added(rs), delta("reasoning_summary_text", "a", summary_index=0),
                delta("reasoning_summary_text", "b", summary_index=0),
                delta("reasoning_summary_text", "c", summary_index=1), completed())  # fmt: skip
    assert made["reasoning_content"] == "ab\n\nc"


def test_reasoning_in_both_forms_is_shown_once() -> None:
    rs = {"id": "rs_1", "type": "reasoning", "summary": []}
    made = read(added(rs), delta("reasoning_text", "raw"), delta("reasoning_summary_text", "short"), completed())
    assert made["reasoning_content"] == "raw"


def test_reasoning_is_kept_as_in_its_done_event_and_in_its_place() -> None:
    first = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "whole"}
    second = {"id": "rs_2", "type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}],
              "encrypted_content": "B"}  # fmt: skip
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    other = {**CALL, "id": "fc_2", "call_id": "call_2"}
    fold = MessageFold()
    for chunk in chunks_of(wire(
        CREATED, added({**first, "encrypted_content": "part"}), done(first), done(search, 1), added(CALL, 2),
        done(CALL, 2), done(second, 3), done(other, 4),
        completed({**first, "encrypted_content": "another", "id": "rs_9"}),
    )):  # fmt: skip
        fold.feed(chunk)
    turn = fold.turn()
    assert [detail["format"] for detail in turn["reasoning_details"]] == [FORMAT] * 3
    results = [{"role": "tool", "tool_call_id": f"call_{n}", "content": "x"} for n in (1, 2)]
    again = DIALECT.write_request({"model": "m", "messages": [turn, *results]}, Lessons()).body["input"]
    assert [item["type"] for item in again] == [
        "reasoning", "web_search_call", "function_call", "reasoning", "function_call", "function_call_output",
        "function_call_output",
    ]  # fmt: skip
    assert (again[0], again[1], again[3]) == (first, search, second)


def test_custom_tools() -> None:
    custom = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "p", "input": ""}
    data = wire(CREATED, added(custom), delta("custom_tool_call_input", "X"), done({**custom, "input": "XY"}))
    fold = MessageFold()  # the vendor's types have such calls in whole answers only
    for chunk in chunks_of(data + wire(completed())):
        fold.feed(chunk)
    assert fold.message()["tool_calls"] == [{"id": "c", "type": "custom", "custom": {"name": "p", "input": "XY"}}]


def test_annotations_and_logprobs() -> None:
    cited = {"type": "url_citation", "url": "http://x", "title": "t", "start_index": 0, "end_index": 1}
    token = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}
    chunks = chunks_of(wire(
        CREATED, added(MESSAGE), delta("output_text", "x", logprobs=[token]),
        {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": cited}, completed(),
    ))  # fmt: skip
    assert chunks[1]["choices"][0]["logprobs"] == {"content": [token], "refusal": None}
    entry = chunks[2]["choices"][0]["delta"]["annotations"][0]
    assert entry == {
        "index": 0,
        "type": "url_citation",
        "url_citation": {k: v for k, v in cited.items() if k != "type"},
    }


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "length"),
                           (None, "length")],
)  # fmt: skip
def test_an_incomplete_answer_even_without_text(reason: str | None, finish: str) -> None:
    made = read(completed(status="incomplete", incomplete_details={"reason": reason}))
    assert (made["content"], made["finish"]) == ("", finish)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"type": "response.failed",
          "response": {**RESPONSE, "error": {"code": "rate_limit_exceeded", "message": "M"}}},
         {"message": "M", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}),
        ({"type": "error", "code": "server_error", "message": "M", "param": None},
         {"message": "M", "type": "server_error", "param": None, "code": "server_error"}),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "M", "param": "p", "code": "c"}},
         {"message": "M", "type": "invalid_request_error", "param": "p", "code": "c"}),
        ({"type": "response.failed", "response": None}, {"message": "", "type": "server_error", "param": None,
                                                        "code": None}),
    ],
)  # fmt: skip
def test_a_failure(found: dict[str, Any], expected: dict[str, Any]) -> None:
    chunks = chunks_of(wire(CREATED, added(MESSAGE), delta("output_text", "x"), found, completed()))
    assert chunks[-1] == {"error": expected}


def test_an_error_in_the_chat_apis_shape() -> None:
    assert chunks_of(b'data: {"error":{"message":"M"}}\n\n')[-1]["error"]["message"] == "M"


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n", b'event: response.completed\ndata: {"type":"respo'])
def test_a_stream_without_its_last_event_is_broken(tail: bytes) -> None:
    with pytest.raises(UpstreamTruncated):
        chunks_of(wire(CREATED, added(MESSAGE), delta("output_text", "x")) + tail)


def test_an_invalid_event_is_refused() -> None:
    for odd in (b"data: nonsense\n\n", b"data: 7\n\n", b'data: {"type":"response.output_text.delta"}\n\n'):
        with pytest.raises(UpstreamInvalid):
            chunks_of(odd)


def test_unknown_events_are_ignored_and_heartbeats_are_passed_on() -> None:
    life = {"type": "response.in_progress", "response": RESPONSE}
    chunks = chunks_of(wire({"type": "response.new_thing"}, CREATED, life, life, {"type": "keepalive"},
                            completed(said("x"))))  # fmt: skip
    assert [c["choices"][0]["delta"] for c in chunks[:3]] == [{"role": "assistant", "content": ""}, {}, {}]


def test_a_whole_answer() -> None:
    rs = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}],
          "encrypted_content": "A"}  # fmt: skip
    response = completed(rs, said("x"), {**CALL, "arguments": "{}"})["response"]
    made = reader().whole(orjson.dumps(response))
    message = made["choices"][0]["message"]
    assert made["object"] == "chat.completion"
    assert (made["id"], made["created"], made["model"]) == ("resp_1", 7, "dated")
    assert (message["content"], message["reasoning_content"]) == ("x", "t")
    assert message["tool_calls"][0]["id"] == "call_1"
    assert made["choices"][0]["finish_reason"] == "tool_calls"
    assert made["usage"]["total_tokens"] == 8
    assert chunks_of(orjson.dumps(response))[0]["choices"][0]["delta"]["content"] == "x"


def test_a_failed_whole_answer_and_an_invalid_one() -> None:
    failed = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "M"}}
    assert reader().whole(orjson.dumps(failed))["error"]["message"] == "M"
    assert reader().whole(b'{"error":{"message":"M"}}')["error"]["message"] == "M"
    for odd in (b"{}", b'{"status":"completed","output":7}', b"nonsense"):
        with pytest.raises((UpstreamInvalid, UpstreamTruncated)):
            reader().whole(odd)


def test_error_answers() -> None:
    told = b'{"error":{"message":"M","type":"invalid_request_error","param":"p","code":"c"}}'
    assert reader().error(400, told) == {"message": "M", "type": "invalid_request_error", "param": "p", "code": "c"}
    assert reader().error(502, b"<html>")["message"] == ""
    assert reader().error(422, b'{"detail":"M"}')["message"] == "M"


WHOLE = wire(CREATED, added({"id": "rs_1", "type": "reasoning", "summary": []}), delta("reasoning_summary_text", "hä"),
             done({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "A"}), added(MESSAGE, 1),
             delta("output_text", "Grüße \U0001f600", 1), done(said("Grüße \U0001f600"), 1), added(CALL, 2),
             delta("function_call_arguments", "{}", 2), done({**CALL, "arguments": "{}"}, 2), completed())  # fmt: skip


@pytest.mark.parametrize("cut", range(1, len(WHOLE), 3))
def test_every_cut_gives_the_same_chunks(cut: int) -> None:
    assert chunks_of(WHOLE, cut) == chunks_of(WHOLE)


@given(st.lists(st.sampled_from([
    CREATED, added(MESSAGE), added(CALL), added(CALL, 1), delta("output_text", "x"), delta("refusal", "x"),
    delta("function_call_arguments", "{}"), delta("function_call_arguments", "{}", 1), done(said("x")), done(CALL, 1),
    delta("reasoning_text", "x", 2), done({"type": "reasoning", "summary": [], "encrypted_content": "A"}, 2),
    added({**MESSAGE, "phase": "commentary"}, 3), delta("output_text", "x", 3), {"type": "keepalive"},
]), max_size=10))  # fmt: skip
def test_any_order_of_events_gives_tidy_chunks(found: list[dict[str, Any]]) -> None:
    chunks = chunks_of(wire(*found, completed(said("x"), CALL)))
    begun: set[int] = set()
    for chunk in chunks:
        for choice in chunk["choices"]:
            for entry in choice["delta"].get("tool_calls", ()):
                assert entry["index"] in begun or (entry["id"] and entry["index"] == len(begun))
                begun.add(entry["index"])
    made = writer()
    try:
        written = b"".join(made.chunk(chunk) for chunk in chunks) + made.end()
    except UpstreamInvalid:
        return  # the arguments of a call continued after they were complete, or after another call had begun
    check(events(written))


@pytest.mark.skipif(not STREAMS, reason="the recorded streams are not in this checkout")
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem[:50])
def test_recorded_streams_are_read_and_written_back(path: Path) -> None:
    data = path.read_bytes()
    found = [json.loads(event.data) for event in EventSplitter().feed(data) if event.data != b"[DONE]"]
    output = found[-1]["response"]["output"]
    made = folded(chunks_of(data, *range(97, len(data), 97)))
    texts = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    calls = [(item["call_id"], item["arguments"]) for item in output if item["type"] == "function_call"]
    assert (made["content"] or "") == "".join(texts)
    assert [(call["id"], call["function"]["arguments"]) for call in made.get("tool_calls", ())] == calls
    assert made["usage"]["completion_tokens"] == found[-1]["response"]["usage"]["output_tokens"]
    again = writer()
    written = b"".join(again.chunk(chunk) for chunk in chunks_of(data)) + again.end()
    check(events(written))
    back = folded(chunks_of(written))
    assert {**back, "reasoning_details": 0} == {**made, "reasoning_details": 0}


@pytest.mark.skipif(not STREAMS, reason="the recorded requests are not in this checkout")
def test_recorded_requests_are_understood() -> None:
    read = 0
    for path in RECORDED.glob("*.request.json"):
        document = json.loads(path.read_bytes())
        if document.get("background"):
            continue
        chat = DIALECT.read_request("/responses", document).chat
        body = DIALECT.write_request(chat, Lessons()).body
        theirs = [item for item in document["input"] if item.get("type") in ("function_call", "function_call_output")]
        assert sum("call_id" in item for item in body["input"]) >= len(theirs)
        read += 1
    assert read > 10
