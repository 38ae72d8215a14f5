"""Responses requests as chat requests: what each item becomes, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.packed_reasoning import pack
from openai_proxy.dialects.responses.conversation import NO_RESULT
from openai_proxy.dialects.responses.dialect import DIALECT
from openai_proxy.dialects.responses.reasoning import FORMAT
from openai_proxy.errors import BadRequest, NotFound

F: dict[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
HI = {"role": "user", "content": "hi"}


def read(given: Any = "hi", **more: Any) -> IncomingRequest:
    return DIALECT.read_request("/responses", {"model": "m", "input": given, **more})


def chat(given: Any = "hi", **more: Any) -> dict[str, Any]:
    return read(given, **more).chat


def messages(*items: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat(list(items))["messages"]
    return found


def call(call_id: str = "c1", name: str = "f", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, **more}


def output(call_id: str = "c1", output: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def names(request: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in request["tools"]]


def test_a_text_and_instructions() -> None:
    assert chat("hi", instructions="be kind")["messages"] == [{"role": "system", "content": "be kind"}, HI]


def test_equivalent_members_get_their_chat_names() -> None:
    made = chat(
        max_output_tokens=50, temperature=0.5, top_p=0.9, parallel_tool_calls=False, user="u", metadata={"a": "b"},
        reasoning={"effort": "low", "summary": "auto"}, prompt_cache_key="k", service_tier="flex", stream=True,
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"},
                                             "strict": True}},
        include=["message.output_text.logprobs"], top_logprobs=2,
    )  # fmt: skip
    assert made == {
        "model": "m", "messages": [HI], "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "user": "u",
        "parallel_tool_calls": False, "metadata": {"a": "b"}, "reasoning_effort": "low", "prompt_cache_key": "k",
        "service_tier": "flex", "verbosity": "low", "stream": True, "stream_options": {"include_usage": True},
        "logprobs": True, "top_logprobs": 2,
        "response_format": {"type": "json_schema",
                            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
    }  # fmt: skip


def test_an_unset_strict_stays_unset() -> None:
    assert "strict" not in chat(tools=[F])["tools"][0]["function"]
    assert chat(tools=[{**F, "strict": True}])["tools"][0]["function"]["strict"] is True


def test_members_without_an_equivalent_are_named() -> None:
    made = read(
        [HI, {"type": "web_search_call", "id": "ws_1"}], truncation="auto", max_tool_calls=3, client_metadata={"a": 1},
        tools=[F, {"type": "web_search"}, {"type": "mcp", "server_url": "http://10.0.0.1/"}], store=True,
    )  # fmt: skip
    assert made.dropped == (
        "truncation", "max_tool_calls", "client_metadata", "input.web_search_call", "tools.web_search", "tools.mcp",
    )  # fmt: skip
    assert names(made.chat) == ["f"]


def test_parts_of_a_user_message() -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
    ]
    assert messages({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
    ]


def test_one_turn_is_one_message_whatever_the_order_of_its_items() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "wait"}]}
    found = messages(HI, call("c1"), said, call("c2", arguments=""), output("c2", "two"), output("c1", "one"))
    assert found == [
        HI,
        {"role": "assistant", "content": "wait", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
    ]  # fmt: skip


def test_a_message_between_a_call_and_its_output_stays_with_the_call() -> None:
    said = {"role": "assistant", "content": "looking"}
    roles = [message["role"] for message in messages(HI, call(), said, output(), {"role": "assistant", "content": "x"})]
    assert roles == ["user", "assistant", "tool", "assistant"]


def test_an_output_after_the_next_question_is_moved_to_its_call() -> None:
    roles = [message["role"] for message in messages(HI, call(), HI, output())]
    assert roles == ["user", "assistant", "tool", "user"]


def test_a_call_without_an_output_gets_a_neutral_one() -> None:
    assert messages(HI, call(), HI)[2] == {"role": "tool", "tool_call_id": "c1", "content": NO_RESULT}


def test_a_repeated_call_id_is_made_unique() -> None:
    found = messages(HI, call("x"), output("x", "1"), call("x"), output("x", "2"))
    ids = [entry["tool_calls"][0]["id"] for entry in found if entry["role"] == "assistant"]
    assert len(set(ids)) == 2
    assert [entry["tool_call_id"] for entry in found if entry["role"] == "tool"] == ids


def test_an_image_in_an_output_follows_the_results() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    found = messages(HI, call("a"), call("b"), output("a", [image]), output("b", "two"))
    assert [entry["role"] for entry in found] == ["user", "assistant", "tool", "tool", "user"]
    assert found[2]["content"]
    assert found[4]["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def test_leading_system_messages_are_merged_and_later_ones_become_user_messages() -> None:
    items = [{"role": "developer", "content": "a"}, {"role": "system", "content": "b"}, HI,
             {"role": "developer", "content": "c"}]  # fmt: skip
    assert chat(items, instructions="first")["messages"] == [
        {"role": "system", "content": "first\n\na\n\nb"}, HI,
        {"role": "user", "content": "<system>\nc\n</system>"},
    ]  # fmt: skip


def test_tools_are_also_read_from_additional_tools() -> None:
    assert names(chat([{"type": "additional_tools", "role": "developer", "tools": [F]}, HI])) == ["f"]


def test_a_namespace_is_flattened_and_remembered() -> None:
    space = {"type": "namespace", "name": "ns", "tools": [F, {"type": "custom", "name": "x y"}]}
    made = read([HI, call(name="f", namespace="ns"), output()], tools=[space], tool_choice="auto")
    first, second = names(made.chat)
    assert first == "ns__f"
    assert len(second) <= 64
    assert set(second) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert made.details.declared["ns__f"].namespace == "ns"
    assert made.chat["messages"][1]["tool_calls"][0]["function"]["name"] == "ns__f"


def test_a_long_name_is_shortened_and_stays_unique() -> None:
    tools = [{"type": "namespace", "name": "n" * 40, "tools": [{**F, "name": "f" * 40}, {**F, "name": "f" * 41}]}]
    first, second = names(chat(tools=tools))
    assert first != second
    assert len(first) <= 64
    assert len(second) <= 64


def test_a_custom_tool_is_a_function_with_one_text() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    made = read(
        [HI, {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "X"},
         {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "ok"}]}],
        tools=[{"type": "custom", "name": "patch", "description": "d", "format": grammar}],
    ).chat  # fmt: skip
    function = made["tools"][0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "start: X" in function["description"]
    assert made["messages"][1]["tool_calls"][0]["function"] == {"name": "patch", "arguments": '{"input":"X"}'}
    assert made["messages"][2]["content"] == "ok"


def test_a_search_for_tools_that_the_client_runs() -> None:
    search = {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}}
    later = {**F, "name": "later", "defer_loading": True}
    assert names(chat(tools=[search, later, F])) == ["tool_search", "f"]
    found = chat(
        [HI, {"type": "tool_search_call", "call_id": "s", "arguments": {"query": "x"}, "execution": "client"},
         {"type": "tool_search_output", "call_id": "s", "tools": [later]}],
        tools=[search, later, F],
    )  # fmt: skip
    assert names(found) == ["tool_search", "f", "later"]
    assert [entry["role"] for entry in found["messages"]] == ["user", "assistant", "tool"]


def test_deferred_tools_are_offered_at_once_if_openai_would_search() -> None:
    assert names(chat(tools=[{"type": "tool_search"}, {**F, "defer_loading": True}])) == ["f"]


def test_shell_calls_are_kept_as_calls() -> None:
    found = messages(
        HI,
        {"type": "local_shell_call", "call_id": "s", "action": {"type": "exec", "command": ["ls"]}},
        {"type": "local_shell_call_output", "id": "s", "output": "a.txt"},
    )
    assert found[1]["tool_calls"][0]["function"]["name"] == "local_shell"
    assert found[2]["content"] == "a.txt"


def test_only_the_allowed_tools_are_offered() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    made = chat(tools=[F, {**F, "name": "g"}], tool_choice=choice)
    assert names(made) == ["g"]
    assert made["tool_choice"] == "required"


def test_a_forced_function() -> None:
    wanted = {"type": "function", "name": "f"}
    assert chat(tools=[F], tool_choice=wanted)["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_a_keyword_of_openais_own_validator_is_removed_from_schemas() -> None:
    schema = {"type": "object", "properties": {"encrypted": {"type": "string", "encrypted": True}}}
    function = chat(tools=[{**F, "parameters": schema, "output_schema": {}, "async": True}])["tools"][0]["function"]
    assert function == {
        "name": "f",
        "parameters": {"type": "object", "properties": {"encrypted": {"type": "string"}}},
    }


def test_packed_reasoning_is_restored() -> None:
    details = [{"type": "reasoning.text", "text": "t", "signature": "s", "index": 0, "format": "anthropic-claude-v1"}]
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}],
            "encrypted_content": pack(details)}  # fmt: skip
    found = messages(HI, item, call(), output())
    assert found[1]["reasoning_details"] == details
    assert found[1]["reasoning_content"] == "t"


def test_a_providers_own_reasoning_item_is_kept_complete() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}],
            "encrypted_content": "gAAAA"}  # fmt: skip
    turn = messages(HI, call("a"), item, call("b"), output("a"), output("b"))[1]
    assert turn["reasoning_details"] == [
        {"type": "reasoning.encrypted", "index": 0, "format": FORMAT, "id": "rs_1", "summary": item["summary"],
         "data": "gAAAA", "after_calls": 1},
    ]  # fmt: skip
    assert "reasoning_content" not in turn


@pytest.mark.parametrize("data", ["oap1.", "oap1.!!!", "oap1.AAAA", "oap1." + "A" * 400])
def test_damaged_packed_reasoning_is_omitted(data: str) -> None:
    found = messages(HI, {"type": "reasoning", "summary": [], "encrypted_content": data}, call(), output())
    assert "reasoning_details" not in found[1]


def test_a_summary_sent_back_as_text_is_reasoning_again() -> None:
    turn = messages(HI, {"role": "assistant", "content": "<think>hm</think>yes"}, HI)[1]
    assert turn["content"] == "yes"
    assert turn["reasoning_content"] == "hm"


def test_a_phase_is_kept() -> None:
    assert messages({"role": "assistant", "content": "x", "phase": "commentary"}, HI)[0]["phase"] == "commentary"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"background": True}, "background"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"input": None, "messages": [HI]}, "messages"),
    ({"input": 7}, "input"),
    ({"input": []}, "input"),
    ({"input": [7]}, "input[0]"),
    ({"input": [{"type": "hologram"}]}, "input[0]"),
    ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
    ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0]"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
     "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "http://x"}]}]},
     "input[0].content[0].file_data"),
    ({"input": [{"role": "user", "content": [{"type": "input_smell"}]}]}, "input[0].content[0]"),
    ({"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "x"}]}]},
     "input[0].content[0]"),
    ({"input": [HI, output("nobody")]}, "input[1].call_id"),
    ({"input": [HI, call(), output(), output()]}, "input[3].call_id"),
    ({"input": [HI, call(), call(arguments='{"a":1}')]}, "input[2].call_id"),
    ({"input": [HI, {"type": "function_call", "name": "f"}]}, "input[1].call_id"),
    ({"input": [HI, {"type": "function_call", "call_id": "c"}]}, "input[1].name"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": {"type": "function"}}, "tools"),
    ({"tools": [{"type": "namespace", "name": "n"}]}, "tools[0]"),
    ({"tools": [{**F, "name": "n__f"}, {"type": "namespace", "name": "n", "tools": [F]}]}, "tools[1].tools[0]"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"tools": [F], "tool_choice": {"type": "image_generation"}}, "tool_choice"),
    ({"tools": [F], "tool_choice": "perhaps"}, "tool_choice"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": "many"}, "max_output_tokens"),
    ({"instructions": ["x"]}, "instructions"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "param"), REFUSED, ids=[param for _, param in REFUSED])
def test_refusals_name_the_member(document: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        DIALECT.read_request("/responses", {"model": "m", "input": "hi", **document})
    assert caught.value.param == param


def test_an_unresolved_reference_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        read([{"type": "item_reference", "id": "msg_1"}])
    assert caught.value.message == "Item with id 'msg_1' not found."
    with pytest.raises(NotFound):
        read([{"id": "msg_1"}])


def test_ten_thousand_items_are_read_in_one_pass() -> None:
    items = [item for n in range(2500) for item in (HI, call(f"c{n}"), output(f"c{n}"), {"role": "assistant",
             "content": "x"})]  # fmt: skip
    assert len(messages(*items)) == 10_000


def test_a_schema_that_is_too_deep_is_a_bad_request() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(BadRequest):
        read(tools=[{**F, "parameters": schema}])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.sampled_from(["function_call", "message", "reasoning", "function_call_output", "c1", "user", "assistant"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "role", "content", "call_id", "output", "name", "arguments", "summary", "tools", "id",
                         "input", "text", "encrypted_content", "namespace", "action", "phase", "format", "parameters"]),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(
    ["input", "tools", "tool_choice", "instructions", "include", "reasoning", "text", "stream", "max_output_tokens",
     "metadata", "top_logprobs", "previous_response_id", "store"]), VALUES))  # fmt: skip
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    try:
        made = DIALECT.read_request("/responses", {"model": "m", **document})
    except (BadRequest, NotFound):
        return
    waiting: list[str] = []
    for message in made.chat["messages"]:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting, "a message must not come between a call and its result"
            waiting = [call["id"] for call in message.get("tool_calls", ())]
    assert not waiting
