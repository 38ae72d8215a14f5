"""Reasoning of other providers' models, through a client of the Messages API and back."""

from typing import Any

import orjson
import pytest

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.messages.content import call_id
from openai_proxy.dialects.messages.dialect import DIALECT
from openai_proxy.dialects.messages.write_request import to_messages

REQUEST = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "q"}]}
ITEM = {"type": "reasoning.encrypted", "index": 0, "format": "openai-responses-v1", "data": "opaque", "id": "rs_1"}
GOOGLE = {"type": "reasoning.encrypted", "index": 1, "format": "google-gemini-v1", "data": "sig"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FIRST = {**CALL, "index": 0}


def chunk(delta: dict[str, Any], finish: str | None = None) -> Chunk:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def streamed(*deltas: dict[str, Any], request: dict[str, Any] = REQUEST) -> list[dict[str, Any]]:
    """The content of the message that a client assembles from the stream of these deltas."""
    writer = DIALECT.write_answer(DIALECT.read_request("/messages", request), "m")
    data = b"".join([*(writer.chunk(chunk(delta)) for delta in deltas), writer.chunk(chunk({}, "stop")), writer.end()])
    content: list[dict[str, Any]] = []
    for block in data.decode().strip().split("\n\n"):
        event = orjson.loads(block.partition("data: ")[2])
        if event["type"] == "content_block_start":
            assert event["index"] == len(content)
            content.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    content[-1][name] = content[-1].get(name, "") + delta[name]
    return content


def whole(message: dict[str, Any]) -> list[dict[str, Any]]:
    writer = DIALECT.write_answer(DIALECT.read_request("/messages", REQUEST), "m")
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    content: list[dict[str, Any]] = orjson.loads(writer.whole({"choices": [choice]}))["content"]
    return content


def back(content: list[dict[str, Any]]) -> dict[str, Any]:
    """The chat message for the `content` that a client sends back."""
    turns = [*REQUEST["messages"], {"role": "assistant", "content": content}, {"role": "user", "content": "more"}]  # type: ignore[misc]  # a list
    chat = DIALECT.read_request("/messages", {**REQUEST, "messages": turns}).chat
    message: dict[str, Any] = chat["messages"][1]
    return message


def test_reasoning_of_another_provider_is_returned_unchanged() -> None:
    for content in (
        streamed(
            {"reasoning_content": "hm"},
            {"reasoning_details": [ITEM]},
            {"content": "yes"},
            {"tool_calls": [FIRST]},
        ),
        whole({"reasoning_content": "hm", "reasoning_details": [ITEM], "content": "yes", "tool_calls": [CALL]}),
    ):
        assert [block["type"] for block in content] == ["thinking", "text", "tool_use"]
        assert (content[0]["thinking"], content[1]["text"]) == ("hm", "yes")
        message = back(content)
        assert message["reasoning_details"] == [ITEM]
        assert message["reasoning_content"] == "hm"
        assert message["tool_calls"] == [CALL]


def test_unreadable_reasoning_is_a_separate_block() -> None:
    for content in (
        streamed({"reasoning_details": [ITEM]}, {"content": "yes"}),
        whole({"reasoning_details": [ITEM], "content": "yes"}),
    ):
        assert [block["type"] for block in content] == ["redacted_thinking", "text"]
        assert back(content) == {"role": "assistant", "content": "yes", "reasoning_details": [ITEM]}


def test_reasoning_details_after_the_text_are_not_lost() -> None:
    """Gemini behind OpenRouter sends its signature with the call, or after it."""
    pieces = [{**GOOGLE, "data": "si"}, {**GOOGLE, "data": "g"}]
    content = streamed(
        {"reasoning_content": "hm"}, {"content": "yes"}, {"reasoning_details": [ITEM]}, {"tool_calls": [FIRST]},
        {"reasoning_details": pieces[:1]}, {"reasoning_details": pieces[1:]},
    )  # fmt: skip
    assert back(content)["reasoning_details"] == [ITEM, GOOGLE]


def test_hidden_reasoning_keeps_its_signature() -> None:
    asked = {**REQUEST, "thinking": {"type": "adaptive", "display": "omitted"}}
    content = streamed({"reasoning_content": "hm"}, {"reasoning_details": [ITEM]}, {"content": "y"}, request=asked)
    assert [block["type"] for block in content] == ["redacted_thinking", "text"]
    assert back(content)["reasoning_details"] == [ITEM]


def test_redacted_thinking_of_claude_is_never_changed() -> None:
    given = [
        {"type": "redacted_thinking", "data": "oa+/=="},
        {"type": "thinking", "thinking": "t", "signature": "s+/=="},
    ]
    assert (
        to_messages(
            {
                "model": "m",
                "messages": [{"role": "user", "content": "q"}, back([*given, {"type": "text", "text": "x"}])],
            }
        ).body["messages"][1]["content"][:2]
        == given
    )
    details = back([*given, {"type": "text", "text": "x"}])["reasoning_details"]
    assert streamed(*({"reasoning_details": [detail]} for detail in details[:1]), {"content": "x"})[0] == given[0]
    assert whole({"reasoning_details": details, "content": "x"})[:2] == given


@pytest.mark.parametrize("damaged", ["oap1.", "oap1.!!!", "oap1.AAAA"])
def test_damaged_packed_reasoning_is_omitted(damaged: str) -> None:
    message = back([{"type": "thinking", "thinking": "hm", "signature": damaged}, {"type": "text", "text": "y"}])
    assert message == {"role": "assistant", "content": "y", "reasoning_content": "hm"}


def test_only_claude_gets_adapted_ids() -> None:
    odd = "functions.get_weather:0"
    calls = [{"id": odd, "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": calls},
             {"role": "tool", "tool_call_id": odd, "content": "r"}]  # fmt: skip
    use, result = (turn["content"][0] for turn in to_messages({"model": "m", "messages": turns}).body["messages"][1:])
    assert use["id"] == result["tool_use_id"] == call_id(odd) != odd
    assert call_id(use["id"]) == use["id"]
    assert whole({"content": None, "tool_calls": calls})[0]["id"] == odd


def test_names_and_schemas_of_client_tools_are_adapted() -> None:
    long = "mcp__a_server_with_a_long_name__" + "tool" * 20
    schema = {"oneOf": [{"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}]}
    asked = {**REQUEST, "tools": [{"name": long, "description": "d" * 9000, "input_schema": schema}],
             "tool_choice": {"type": "tool", "name": long}}  # fmt: skip
    request = DIALECT.read_request("/messages", asked)
    function = request.chat["tools"][0]["function"]
    assert len(function["name"]) == 64
    assert request.chat["tool_choice"]["function"]["name"] == function["name"]
    assert function["description"].startswith("d" * 9000)
    assert function["parameters"]["type"] == "object"
    assert "oneOf" not in function["parameters"]
    writer = DIALECT.write_answer(request, "m")
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": function["name"], "arguments": "{}"}}
    data = writer.chunk(chunk({"tool_calls": [call]})) + writer.end()
    assert f'"name":"{long}"'.encode() in data
