"""Chat requests as requests to a server's /api/chat."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from openai_proxy.dialects.base import Lessons, OutgoingRequest
from openai_proxy.dialects.ollama.dialect import DIALECT
from openai_proxy.errors import BadRequest
from tests.dialects.odd import documents

USER = {"role": "user", "content": "hi"}


def write(lessons: Lessons | None = None, **members: Any) -> OutgoingRequest:
    return DIALECT.write_request({"model": "m", "messages": [USER], **members}, lessons or Lessons())


def test_a_plain_request() -> None:
    made = write()
    assert (made.path, made.body) == ("/api/chat", {"model": "m", "messages": [USER], "stream": False})
    assert write(stream=True).body["stream"] is True


def test_parameters_override_the_given_options() -> None:
    made = write(
        temperature=0.2, max_tokens=5, max_completion_tokens=6, stop="x", top_k=3, seed=1,
        options={"num_ctx": 4096, "temperature": 9}, keep_alive="1h",
    ).body  # fmt: skip
    assert made["options"] == {
        "num_ctx": 4096,
        "temperature": 0.2,
        "num_predict": 6,
        "stop": ["x"],
        "top_k": 3,
        "seed": 1,
    }
    assert made["keep_alive"] == "1h"


@pytest.mark.parametrize(
    ("members", "think"),
    [
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning": {"effort": "low"}}, "low"),
        ({"reasoning": {"enabled": False}}, False),
        ({"think": True, "reasoning_effort": "medium"}, True),
        ({}, None),
    ],
)
def test_efforts(members: dict[str, Any], think: Any) -> None:
    assert write(**members).body.get("think") == think


def test_thinking_is_not_requested_of_a_model_without_it() -> None:
    for lessons in (Lessons(entry={"capabilities": ["completion"]}), Lessons(refused=frozenset({"think"}))):
        made = write(lessons, reasoning_effort="high")
        assert "think" not in made.body
        assert made.dropped == ("reasoning_effort",)
        assert write(lessons, reasoning_effort="none").body["think"] is False
    assert write(Lessons(entry={"capabilities": ["thinking"]}), reasoning_effort="high").body["think"] == "high"


def test_messages_with_tools_images_and_thoughts() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    broken = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    sound = {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}}
    made = write(
        messages=[
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, image, sound, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call, broken]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "1"}]},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
        ]
    ).body["messages"]
    assert made[0] == {"role": "system", "content": "s"}
    assert made[1] == {"role": "user", "content": "a\n\nb", "images": ["AAAA", "BBBB"]}
    assert made[2] == {
        "role": "assistant",
        "content": "",
        "thinking": "hm",
        "tool_calls": [
            {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}},
            {"id": "c2", "function": {"index": 1, "name": "g", "arguments": {}}},
        ],
    }
    assert made[3] == {"role": "tool", "content": "1", "tool_name": "f", "tool_call_id": "c1"}
    assert made[4]["tool_name"] == "g"


def test_tools_and_choices() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    assert write(tools=tools).body["tools"] == tools
    assert "tools" not in write(tools=tools, tool_choice="none").body
    named = write(tools=tools, tool_choice={"type": "function", "function": {"name": "g"}})
    assert named.body["tools"] == tools[1:]
    assert named.dropped == ("tool_choice",)
    assert write(tools=tools, tool_choice="required").dropped == ("tool_choice",)


def test_formats() -> None:
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert write(response_format=wanted).body["format"] == schema
    assert write(response_format={"type": "json_object"}).body["format"] == "json"
    assert "format" not in write(response_format={"type": "text"}).body


def test_members_without_an_equivalent_are_named_or_refused() -> None:
    assert write(logit_bias={}, user="u", service_tier="auto").dropped == ("logit_bias", "service_tier")
    link = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    for members, param in (
        ({"n": 2}, "n"),
        ({"messages": [{"role": "user", "content": [link]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"options": 3}, "options"),
    ):
        with pytest.raises(BadRequest) as caught:
            write(**members)
        assert caught.value.param == param


@given(documents("messages", "tools", "options", "response_format", "tool_choice", "reasoning_effort", "stop"))
def test_any_request_is_written_or_refused(document: dict[str, Any]) -> None:
    try:
        made = DIALECT.write_request(document, Lessons())
    except BadRequest:
        return
    orjson.dumps(made.body)
