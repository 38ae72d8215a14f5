"""Chat requests as Messages requests."""

import base64
from typing import Any

import orjson
import pytest

from openai_proxy.dialects.messages.capabilities import (
    UNKNOWN,
    Capabilities,
    learn_refused,
    read_capabilities,
)
from openai_proxy.dialects.messages.write_request import to_messages
from openai_proxy.errors import BadRequest

USER = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="
BUDGETED = Capabilities(max_tokens=64000, adaptive=False, enabled=True)


def yes(value: bool) -> dict[str, bool]:
    return {"supported": value}


def body(messages: Any = None, capabilities: Capabilities = UNKNOWN, refused: Any = (), **more: Any) -> dict[str, Any]:
    return to_messages({"model": "m", "messages": messages or [USER], **more}, capabilities, refused).body


def content(*parts: Any) -> Any:
    return body([{"role": "user", "content": list(parts)}])["messages"][0]["content"]


def test_a_minimal_request():
    assert body() == {
        "model": "m",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


def test_leading_system_messages_are_blocks_and_keep_their_cache_marks():
    marked = {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}
    made = body([{"role": "system", "content": "one"}, {"role": "developer", "content": [marked]}, USER])
    assert made["system"] == [{"type": "text", "text": "one"}, marked]
    assert len(made["messages"]) == 1


def test_a_later_system_message_stays_in_its_place():
    made = body([USER, {"role": "assistant", "content": "yes"}, {"role": "system", "content": "be brief"}, USER])
    assert "system" not in made
    assert made["messages"][2]["content"] == [
        {"type": "text", "text": "<system>\nbe brief\n</system>"},
        {"type": "text", "text": "hi"},
    ]


def test_images_and_documents():
    pdf = base64.b64encode(b"%PDF-1.4").decode()
    made = content(
        {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGFsbG8="}},
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "text", "text": ""},
    )
    assert made == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.jpg"}},
        {"type": "document", "title": "a.pdf",
         "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hallo"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "part",
    [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, {"type": "video"}, 5,
     {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}}, {"type": "image_url"},
     {"type": "file", "file": {}}, {"type": "file", "file": {"file_data": "data:text/plain;base64,!!"}}],
)  # fmt: skip
def test_unsupported_content_is_a_400_that_names_the_part(part: Any):
    with pytest.raises(BadRequest) as caught:
        content(part)
    assert caught.value.param == "messages[0].content[0]"


def test_a_round_of_parallel_tools():
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    made = body(
        [
            USER,
            {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
            {"role": "user", "content": "and?"},
        ]
    )
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant", "user"]
    assert made["messages"][1]["content"] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}},
    ]
    assert made["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"type": "text", "text": "and?"},
    ]


@pytest.mark.parametrize("arguments", ["[1]", "{", "5"])
def test_arguments_must_be_an_object(arguments: str):
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(BadRequest, match="JSON object"):
        body([USER, {"role": "assistant", "tool_calls": [call]}])


def test_signed_thinking_comes_first_and_unchanged():
    details = [
        {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1", "text": "a"},
        {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1", "text": "b", "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "format": "anthropic-claude-v1", "data": "d"},
        {"type": "reasoning.text", "index": 2, "format": "anthropic-claude-v1", "text": "unsigned"},
        {"type": "reasoning.text", "index": 3, "format": "google-gemini-v1", "text": "x", "signature": "y"},
    ]
    made = body([USER, {"role": "assistant", "content": "c", "reasoning_details": details}])
    assert made["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "ab", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "c"},
    ]


def test_tools_and_choices():
    tool = {"type": "function", "function": {"name": "f", "description": "d", "strict": True}}
    made = body(tools=[tool, {"type": "web_search_20250305", "name": "web_search"}], tool_choice="required",
                parallel_tool_calls=False)  # fmt: skip
    assert made["tools"] == [
        {"name": "f", "description": "d", "strict": True, "input_schema": {"type": "object", "properties": {}}},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    assert made["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    named = {"type": "function", "function": {"name": "f"}}
    assert body(tools=[tool], tool_choice=named)["tool_choice"] == {"type": "tool", "name": "f"}
    assert body(tools=[tool], parallel_tool_calls=False)["tool_choice"]["type"] == "auto"
    assert body(tools=[tool], tool_choice="none", parallel_tool_calls=False)["tool_choice"] == {"type": "none"}
    assert "tool_choice" not in body(tool_choice="auto")


def test_limits_sampling_and_stops():
    made = body(max_completion_tokens=7, temperature=1.7, top_p=0.5, stop=["x", " \n"])
    assert (made["max_tokens"], made["temperature"], made["top_p"], made["stop_sequences"]) == (7, 1, 0.5, ["x"])
    assert body(stop="END")["stop_sequences"] == ["END"]
    assert body(capabilities=Capabilities(max_tokens=64000))["max_tokens"] == 64000


@pytest.mark.parametrize(
    "bad", [{"n": 2}, {"max_tokens": 0}, {"tool_choice": "maybe", "tools": [{"type": "function", "function": {}}]},
            {"functions": [{}]}, {"messages": "x"}, {"messages": [{"role": "judge"}]}, {"model": None}],
)  # fmt: skip
def test_requests_without_an_equivalent_are_a_400(bad: Any):
    with pytest.raises(BadRequest):
        to_messages({"model": "m", "messages": [USER], **bad})


def test_omitted_members_are_reported():
    chat = {"model": "m", "messages": [USER], "seed": 1,
            "logit_bias": {}, "store": True, "top_logprobs": None,
            "response_format": {"type": "json_object"},
            "service_tier": "flex", "metadata": {"session_id": "x"}}  # fmt: skip
    assert set(to_messages(chat).dropped) == {"seed", "logit_bias", "response_format", "service_tier", "metadata"}


def test_the_user_becomes_metadata_and_anthropics_members_are_copied():
    made = body(user="u", cache_control={"type": "ephemeral"}, thinking={"type": "enabled", "budget_tokens": 2000},
                reasoning_effort="high", service_tier="default")  # fmt: skip
    assert made["metadata"] == {"user_id": "u"}
    assert made["cache_control"] == {"type": "ephemeral"}
    assert made["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert made["service_tier"] == "standard_only"


def test_effort_for_adaptive_models_and_for_models_with_budgets():
    adaptive = Capabilities(adaptive=True, efforts=frozenset({"low", "medium", "high"}))
    made = body(reasoning_effort="xhigh", capabilities=adaptive)
    assert made["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert made["output_config"] == {"effort": "high"}
    assert body(reasoning_effort="minimal", capabilities=adaptive)["output_config"] == {"effort": "low"}
    made = body(reasoning_effort="medium", capabilities=BUDGETED, temperature=0.2)
    assert made["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert "temperature" not in made
    assert body(reasoning_effort="high", max_tokens=4000, capabilities=BUDGETED)["thinking"]["budget_tokens"] == 2000
    assert "thinking" not in body(reasoning_effort="high", max_tokens=100, capabilities=BUDGETED)
    assert body(reasoning_effort="none")["thinking"] == {"type": "disabled"}
    assert "thinking" not in body()


def test_a_json_schema_becomes_the_output_format():
    schema = {"type": "object", "properties": {}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    made = body(response_format=wanted, reasoning_effort="low")
    assert made["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    with pytest.raises(BadRequest, match="schema"):
        body(response_format=wanted, capabilities=Capabilities(structured_outputs=False))


def test_capabilities_are_read_from_the_models_own_entry():
    entry = {
        "id": "x",
        "max_tokens": 128000,
        "capabilities": {
            "thinking": {"supported": True, "types": {"adaptive": yes(True), "enabled": yes(False)}},
            "effort": {"supported": True, "low": yes(True), "high": yes(True), "max": yes(False)},
            "structured_outputs": yes(True),
        },
    }
    read = read_capabilities(entry)
    assert (read.max_tokens, read.adaptive, read.enabled, read.structured_outputs) == (128000, True, False, True)
    assert read.efforts == {"low", "high"}
    assert read.effort("medium") == "high"
    assert to_messages({"model": "x", "messages": [USER], "temperature": 0}, read).dropped == ("temperature",)
    assert read_capabilities({"id": "y", "capabilities": "odd", "max_tokens": "many"}) == UNKNOWN


@pytest.mark.parametrize(
    ("message", "learnt"),
    [("`temperature` is deprecated for this model.", {"temperature"}),
     ("output_config.effort: Supported levels: low, high", {"effort"}),
     ("adaptive thinking is not supported on this model", {"adaptive"}),
     ("thinking: Input tag 'x' found using 'type' does not match", {"adaptive"}),
     ("messages: roles must alternate", set()), ("top_k is odd", set())],
)  # fmt: skip
def test_lessons_are_learnt_from_refusals(message: str, learnt: set[str]):
    sent = {"temperature": 1, "thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}
    assert learn_refused(message, sent) == learnt


def test_refused_members_are_not_sent_again():
    made = body(temperature=0.5, top_p=0.5, reasoning_effort="low", refused={"top_p", "adaptive"})
    assert "top_p" not in made
    assert made["thinking"]["type"] == "enabled"
    orjson.dumps(made)
