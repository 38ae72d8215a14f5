"""Chat chunks as Responses events: the grammar, the traps of its clients, and the schema of the specification."""

import random
from typing import Any

import openresponses_types.types as types
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.responses.dialect import DIALECT
from openai_proxy.errors import UpstreamInvalid
from tests.dialects.responses.chunks import USAGE, call, check, chunk, events, kinds, text, writer, written

ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
CALLED = chunk({}, "tool_calls")


def items(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = found[-1]["response"]["output"]
    return output


def test_a_text() -> None:
    found = written([ROLE, text("Hel"), text("lo"), STOP, {"choices": [], "usage": USAGE}])
    assert kinds(found) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    response = found[-1]["response"]
    assert response["model"] == "asked"
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert response["output"][0]["phase"] == "final_answer"
    assert response["usage"] == {
        "input_tokens": 5, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0}, "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 8,
    }  # fmt: skip
    assert len({event["response"]["id"] for event in found if "response" in event}) == 1


def test_without_usage_it_is_null() -> None:
    assert written([text("x"), STOP])[-1]["response"]["usage"] is None


def test_reasoning_becomes_a_summary_with_packed_signatures() -> None:
    details = [
        chunk({"reasoning_content": "h", "reasoning_details": [{"type": "reasoning.text", "text": "h", "index": 0,
                                                                "format": "anthropic-claude-v1"}]}),
        chunk({"reasoning_content": "m", "reasoning_details": [{"type": "reasoning.text", "text": "m", "index": 0}]}),
        chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}),
    ]  # fmt: skip
    found = written([ROLE, *details, text("yes"), STOP])
    thought, message = items(found)
    assert thought["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert message["content"][0]["text"] == "yes"
    replayed = [thought, message, {"role": "user", "content": "x"}]
    again = DIALECT.read_request("/responses", {"model": "m", "input": replayed})
    assert again.chat["messages"][0]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "index": 0, "format": "anthropic-claude-v1", "signature": "s"}
    ]


def test_plain_reasoning_can_be_sent_back_if_requested() -> None:
    chunks = [chunk({"reasoning_content": "hm"}), text("x"), STOP]
    assert "encrypted_content" not in items(written(chunks))[0]
    assert items(written(chunks, include=["reasoning.encrypted_content"]))[0]["encrypted_content"]


def test_interleaved_calls_are_written_one_after_another() -> None:
    found = written([text("look"), call(0, '{"a"', "c0"), call(1, '{"b"', "c1", "g"), text("!"), call(1, ":2}"),
                     call(0, ":1}"), CALLED])  # fmt: skip
    assert [(item["type"], item.get("arguments")) for item in items(found)] == [
        ("message", None), ("function_call", '{"a":1}'), ("function_call", '{"b":2}'), ("message", None),
    ]  # fmt: skip
    assert items(found)[0]["phase"] == "commentary"
    assert items(found)[1]["id"] != items(found)[1]["call_id"] == "c0"


def test_a_call_without_arguments_has_an_empty_object_and_its_delta() -> None:
    found = written([call(0, "", "c0"), CALLED])
    assert kinds(found)[2:-1] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip
    assert items(found)[0]["arguments"] == "{}"


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_truncated_call_is_left_open_and_not_repeated(finish: str) -> None:
    found = written([text("a"), call(0, "{}", "c0"), call(1, '{"b', "c1"), chunk({}, finish)])
    assert kinds(found)[-2:] == ["function_call_arguments.delta", "incomplete"]
    assert [item["type"] for item in items(found)] == ["message", "function_call"]
    reason = {"length": "max_output_tokens"}.get(finish, finish)
    assert found[-1]["response"]["incomplete_details"] == {"reason": reason}
    assert found[-1]["response"]["completed_at"] is None


def test_a_truncated_text_is_incomplete() -> None:
    assert items(written([text("a"), chunk({}, "length")]))[0]["status"] == "incomplete"


def test_an_empty_answer_is_an_empty_message() -> None:
    assert items(written([STOP]))[0]["content"][0]["text"] == ""
    assert [item["type"] for item in items(written([chunk({"reasoning_content": "x"}), STOP]))] == [
        "reasoning", "message",
    ]  # fmt: skip


def test_a_refusal() -> None:
    found = written([text("Well. "), chunk({"refusal": "I"}), chunk({"refusal": " won't"}), STOP])
    assert [part["type"] for part in items(found)[0]["content"]] == ["output_text", "refusal"]
    assert items(found)[0]["content"][1]["refusal"] == "I won't"
    assert found[-1]["type"] == "response.completed"


def test_calls_have_the_form_in_which_tools_were_declared() -> None:
    f = {"type": "function", "name": "f"}
    tools = [{"type": "custom", "name": "patch"}, {"type": "namespace", "name": "ns", "tools": [f]},
             {"type": "tool_search", "execution": "client"}]  # fmt: skip
    found = written(
        [call(0, '{"inp', "c0", "patch"), call(0, 'ut":"X"}'), call(1, "", "c1", "ns__f"),
         call(2, '{"query":"q"}', "c2", "tool_search"), CALLED],
        tools=tools,
    )  # fmt: skip
    custom, spaced, search = items(found)
    assert custom["type"] == "custom_tool_call"
    assert (custom["input"], custom["name"], custom["call_id"]) == ("X", "patch", "c0")
    assert "custom_tool_call_input.delta" in kinds(found)
    assert (spaced["name"], spaced["namespace"]) == ("f", "ns")
    assert search["type"] == "tool_search_call"
    assert (search["arguments"], search["execution"]) == ({"query": "q"}, "client")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"input":"X"}', "X"), ('{"patch":"X"}', "X"), ('{"other":"X"}', "X"), ('"X"', "X"), ("X", "X"),
     ("```\nX\n```", "X"), ("{}", ""), ('{"a":1,"b":2}', '{"a":1,"b":2}'), ("[1]", "[1]")],
)  # fmt: skip
def test_the_text_of_a_custom_tool_in_every_form_of_models(arguments: str, expected: str) -> None:
    found = written([call(0, arguments, "c0", "patch"), CALLED], tools=[{"type": "custom", "name": "patch"}])
    assert items(found)[0]["input"] == expected


def test_annotations_and_logprobs() -> None:
    cited = {"url": "http://x", "title": "t", "start_index": 0, "end_index": 1}
    token = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}
    first = text("x")
    first["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
    found = written(
        [first, chunk({"annotations": [{"index": 0, "type": "url_citation", "url_citation": cited}]}), STOP]
    )
    part = items(found)[0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **cited}]
    assert part["logprobs"] == [token]


def test_a_heartbeat_repeats_everything_so_far() -> None:
    made = writer()
    assert kinds(events(made.heartbeat())) == ["created", "in_progress"]
    data = (
        made.chunk(ROLE) + made.chunk(text("Hel")) + made.heartbeat() + made.chunk(chunk({})) + made.chunk(text("lo"))
    )
    beats = [event for event in events(data) if event["type"] == "response.in_progress"]
    assert [beat["response"]["output"][0]["content"][0]["text"] for beat in beats] == ["Hel", "Hel"]
    assert kinds(events(made.chunk(STOP) + made.end()))[-1] == "completed"


def test_a_failure_is_reported_by_both_events_and_never_completed() -> None:
    made = writer()
    data = made.chunk(text("x")) + made.error({"message": "Too many.", "type": "rate_limit_error", "code": 429})
    found = events(data)
    check(found)
    assert kinds(found)[-2:] == ["failed", "error"]
    assert found[-2]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Too many."}
    assert found[-1]["message"] == found[-1]["error"]["message"] == "Too many."
    assert made.end() == made.heartbeat() == made.chunk(text("y")) == b""


def test_a_failure_before_any_output() -> None:
    assert kinds(events(writer().error({"message": "No."}))) == ["created", "in_progress", "failed", "error"]


def test_an_error_within_the_stream_ends_it() -> None:
    found = events(writer().chunk({"error": {"message": "No.", "code": "context_length_exceeded"}}))
    assert found[-2]["response"]["error"]["code"] == "context_length_exceeded"


def test_an_answer_without_its_end_has_failed() -> None:
    made = writer()
    found = events(made.chunk(text("x")) + made.end())
    assert kinds(found)[-2:] == ["failed", "error"]


def test_continuing_an_ended_call_is_an_error() -> None:
    made = writer()
    made.chunk(call(0, "{}", "c0"))
    made.chunk(text("x"))
    assert made.chunk(call(0, " ")) == b""
    with pytest.raises(UpstreamInvalid):
        made.chunk(call(0, '{"a":1}'))


def test_a_whole_answer_equals_the_end_of_the_stream() -> None:
    message = {"role": "assistant", "content": "x", "reasoning_content": "hm", "refusal": None, "tool_calls": [
        {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c1", "type": "function", "function": {"name": "g", "arguments": ""}}]}  # fmt: skip
    completion = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": USAGE}
    response = orjson.loads(writer().whole(completion))
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert response["status"] == "completed"
    assert response["usage"]["total_tokens"] == 8
    for odd in ({}, {"choices": []}, {"choices": [{"message": 7}]}):
        with pytest.raises(UpstreamInvalid):
            writer().whole(odd)


def test_an_answer_repeats_its_request() -> None:
    function = {"type": "function", "name": "f"}
    request = {"instructions": "be kind", "metadata": {"a": "b"}, "tools": [function], "temperature": 0.2,
               "store": False, "previous_response_id": "resp_1", "conversation": "conv_1",
               "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "max_output_tokens": 20}  # fmt: skip
    response = writer(**request).response
    assert response["instructions"] == "be kind"
    assert response["metadata"] == {"a": "b"}
    assert response["tools"] == [{**function, "description": None, "parameters": None, "strict": None}]
    assert response["store"] is False
    assert response["conversation"] == {"id": "conv_1"}
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert response["reasoning"] == {"effort": "low", "summary": None}


STREAMS = st.lists(
    st.one_of(
        st.text(max_size=3).map(text),
        st.just(chunk({})),
        st.text(min_size=1, max_size=3).map(lambda t: chunk({"reasoning_content": t})),
        st.text(min_size=1, max_size=3).map(lambda t: chunk({"refusal": t})),
        st.just(chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 0}]})),
        st.tuples(st.integers(0, 2), st.sampled_from(["", "{}", '{"a":', '"b"}', "}"])),
    ),
    max_size=12,
)


@given(STREAMS, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
def test_any_order_of_chunks_keeps_the_grammar(stream: list[Any], finish: str) -> None:
    begun: set[int] = set()
    made = writer(tools=[{"type": "custom", "name": "custom1"}])
    data = b""
    try:
        for each in stream:
            if isinstance(each, tuple):
                index, piece = each
                first = index not in begun
                begun.add(index)
                each = call(index, piece, f"c{index}" if first else "", f"custom{index}")
            data += made.chunk(each)
        data += made.chunk(chunk({}, finish)) + made.end()
    except UpstreamInvalid:
        data += made.error({"message": "x"})
    found = events(data)
    if found:
        check(found)


def specification() -> dict[str, Any]:
    found = {}
    for name in dir(types):
        if name.endswith("StreamingEvent"):
            model = getattr(types, name)
            found[next(iter(model.model_fields["type"].annotation)).value] = model
    return found


def test_every_event_follows_the_published_schema() -> None:
    models = specification()
    generator = random.Random(7)
    pieces = [text("x"), chunk({"reasoning_content": "hm"}), call(0, '{"a":1}', "c0"), call(1, "{}", "c1", "g"),
              chunk({"refusal": "no"}), chunk({}),
              chunk({"annotations": [{"index": 0, "type": "url_citation", "url_citation": {
                  "url": "http://x", "title": "t", "start_index": 0, "end_index": 1}}]})]  # fmt: skip
    function = {"type": "function", "name": "f"}
    checked = 0
    for finish in ("stop", "length", None):
        for _ in range(30):
            generator.shuffle(pieces)
            made = writer(tools=[function])
            end = [chunk({}, finish)] if finish else []
            data = b"".join(made.chunk(each) for each in [*pieces, *end, {"choices": [], "usage": USAGE}])
            for event in events(data + made.end()):
                models[event["type"]].model_validate(event)
                checked += 1
    assert checked > 1000
