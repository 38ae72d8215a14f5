"""Chat requests as Responses requests: the traps of the API, one test each."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.base import Lessons, OutgoingRequest
from openai_proxy.dialects.responses.dialect import DIALECT
from openai_proxy.dialects.responses.reasoning import FORMAT, detail_of, hosted_detail
from openai_proxy.errors import BadRequest

HI = {"role": "user", "content": "hi"}
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def write(lessons: Lessons | None = None, **chat: Any) -> OutgoingRequest:
    return DIALECT.write_request({"model": "m", "messages": [HI], **chat}, lessons or Lessons())


def body(lessons: Lessons | None = None, **chat: Any) -> dict[str, Any]:
    return write(lessons, **chat).body


def items(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(messages=list(messages))["input"]
    return found


def calling(*ids: str, **more: Any) -> dict[str, Any]:
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(call_id: str, content: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_a_minimal_request() -> None:
    made = write()
    assert made.path == "/responses"
    assert made.body == {
        "model": "m",
        "input": [{"type": "message", **HI}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert made.dropped == ()


def test_equivalent_members() -> None:
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    made = body(
        max_completion_tokens=50, temperature=0.5, reasoning_effort="low", verbosity="low", prompt_cache_key="k",
        service_tier="flex", parallel_tool_calls=False, user="u", metadata={"a": "b"}, stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False}, truncation="auto",
        response_format={"type": "json_schema", "json_schema": schema}, logprobs=True, top_logprobs=2, store=True,
    )  # fmt: skip
    assert made == {
        "model": "m", "input": [{"type": "message", **HI}], "max_output_tokens": 50, "temperature": 0.5,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", **schema}}, "prompt_cache_key": "k",
        "service_tier": "flex", "parallel_tool_calls": False, "user": "u", "metadata": {"a": "b"}, "stream": True,
        "stream_options": {"include_obfuscation": False}, "truncation": "auto", "top_logprobs": 2, "store": True,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    }  # fmt: skip


def test_a_tool_without_strict_is_not_strict_and_an_answer_neither() -> None:
    made = body(tools=[F], tool_choice={"type": "function", "function": {"name": "f"}},
                response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {}}})  # fmt: skip
    assert made["tools"] == [{"type": "function", "name": "f", "description": None, "strict": False,
                              "parameters": {"type": "object", "properties": {}}}]  # fmt: skip
    assert made["tool_choice"] == {"type": "function", "name": "f"}
    assert made["text"]["format"]["strict"] is False


def test_a_small_token_limit_is_raised_to_the_minimum() -> None:
    assert body(max_tokens=1)["max_output_tokens"] == 16
    assert body(Lessons(max_output_tokens=100), max_tokens=1000)["max_output_tokens"] == 100


def test_members_without_an_equivalent_are_named() -> None:
    made = write(stop=["x"], seed=1, presence_penalty=0.5, frequency_penalty=0, logit_bias={})
    assert made.dropped == ("presence_penalty", "seed", "stop")
    assert not {"stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias"} & made.body.keys()


def test_messages_become_items_without_ids() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    paper = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}}
    assert items(
        {"role": "developer", "content": "be kind", "name": "x"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, picture, paper]},
        calling("c1", content="wait", phase="commentary"),
        result("c1", [{"type": "text", "text": "done"}]),
        {"role": "assistant", "content": None, "refusal": "no"},
    ) == [
        {"type": "message", "role": "developer", "content": "be kind"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
        ]},
        {"type": "message", "role": "assistant", "content": "wait", "phase": "commentary"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]  # fmt: skip


def test_reasoning_is_returned_unchanged_before_its_output() -> None:
    first = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "A", "status": None}
    second = {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "t"}],
              "encrypted_content": "B"}  # fmt: skip
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    details = [detail_of(first, 0, 0), hosted_detail(search, 1, 0), detail_of(second, 2, 1)]
    made = items(HI, calling("c1", "c2", content="x", reasoning_details=details), result("c1"), result("c2"))
    assert [item for item in made if item.get("type") == "reasoning"] == [first, second]
    kinds = [item.get("role", item.get("type")) for item in made]
    assert kinds == ["user", "reasoning", "web_search_call", "assistant", "function_call", "reasoning",
                     "function_call", "function_call_output", "function_call_output"]  # fmt: skip


def test_raw_reasoning_is_returned_but_not_that_of_other_vendors() -> None:
    raw = {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]}
    claude = {"type": "reasoning.text", "text": "t", "signature": "s", "index": 1, "format": "anthropic-claude-v1"}
    bare = {"type": "reasoning.encrypted", "id": "rs_9", "index": 2, "format": FORMAT}
    made = items(HI, calling("c1", reasoning_details=[detail_of(raw, 0, 0), claude, bare]), result("c1"))
    assert made[1:2] == [raw]
    assert made[2]["type"] == "function_call"


def test_a_format_repeated_by_a_client_is_still_recognised() -> None:
    detail = {**detail_of({"type": "reasoning", "id": "r", "encrypted_content": "A"}, 0, 0), "format": FORMAT * 2}
    assert items(calling("c", reasoning_details=[detail]), result("c"))[0]["encrypted_content"] == "A"


def test_custom_tools_keep_their_kind() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}}
    made = body(
        tools=[{"type": "custom", "custom": {"name": "p", "format": grammar}}, {"type": "web_search"}],
        tool_choice={"type": "custom", "custom": {"name": "p"}},
        messages=[{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom",
                                                        "custom": {"name": "p", "input": "X"}}]}, result("c")],
    )  # fmt: skip
    assert made["tools"] == [
        {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"}},
        {"type": "web_search"},
    ]
    assert made["tool_choice"] == {"type": "custom", "name": "p"}
    assert [item["type"] for item in made["input"]] == ["custom_tool_call", "custom_tool_call_output"]


def test_legacy_functions() -> None:
    made = body(
        functions=[{"name": "f"}], function_call={"name": "f"},
        messages=[{"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
                  {"role": "function", "name": "f", "content": "done"}],
    )  # fmt: skip
    assert made["tools"][0]["name"] == "f"
    assert made["tool_choice"] == {"type": "function", "name": "f"}
    call, answer = made["input"]
    assert call["arguments"] == "{}"
    assert answer["call_id"] == call["call_id"]


def test_a_long_call_id_is_shortened_the_same_way_for_call_and_result() -> None:
    call, answer = items(calling("c" * 70), result("c" * 70))
    assert call["call_id"] == answer["call_id"]
    assert len(call["call_id"]) <= 64


def test_encrypted_reasoning_is_not_requested_of_a_model_without_it() -> None:
    assert "include" not in body(Lessons(refused=frozenset({"include"})))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"n": 2}, "n"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "x"}}, "modalities"),
    ({"messages": []}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"role": "wizard"}]}, "messages[0].role"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
     "messages[0].content[0]"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"tools": "f"}, "tools"),
    ({"tools": ["f"]}, "tools[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("chat", "param"), REFUSED, ids=[param for _, param in REFUSED])
def test_refusals_name_the_member(chat: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        write(**chat)
    assert caught.value.param == param


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.sampled_from(["assistant", "tool", "user", "function", "custom", "json_schema", "c1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "role", "content", "tool_calls", "id", "function", "name", "arguments", "custom",
                         "tool_call_id", "reasoning_details", "format", "data", "json_schema", "effort", "grammar"]),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(
    ["messages", "tools", "tool_choice", "response_format", "reasoning", "reasoning_effort", "functions", "n",
     "function_call", "stream_options", "max_tokens", "include", "text", "logprobs", "modalities"]), VALUES),
    st.frozensets(st.sampled_from(["input.content", "tools.strict", "include", "text.format", "store"])))  # fmt: skip
def test_any_document_is_written_or_refused(chat: dict[str, Any], refused: frozenset[str]) -> None:
    try:
        made = DIALECT.write_request({"model": "m", "messages": [HI], **chat}, Lessons(refused=refused))
    except BadRequest:
        return
    assert isinstance(made.body["input"], list)
