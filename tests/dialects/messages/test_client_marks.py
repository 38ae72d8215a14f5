"""A client's `cache_control` reaches Claude through a chat request, and is removed for everyone else."""

import json
from collections.abc import Iterator
from typing import Any

from openai_proxy.dialects.fitting import for_connection
from openai_proxy.dialects.messages.client_marks import fit_marks, last_mark
from openai_proxy.dialects.messages.read_request import to_chat
from openai_proxy.dialects.messages.write_request import to_messages

HOUR = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
ASKED: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "fixed", "cache_control": HOUR}, {"type": "text", "text": "more"}],
    "tools": [TOOL, {**TOOL, "name": "g", "cache_control": HOUR}],
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "text", "text": "one"},
                                          {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r", "cache_control": SHORT},
            {"type": "text", "text": "and", "cache_control": SHORT},
        ]},
    ],
}  # fmt: skip


def test_the_marks_reach_claude_in_their_places() -> None:
    body = to_messages(to_chat(ASKED).chat).body
    assert body["system"] == [{"type": "text", "text": "fixed\n\nmore", "cache_control": HOUR}]
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, HOUR]
    assert body["messages"][-1]["content"] == ASKED["messages"][-1]["content"]
    assert json.dumps(body).count("cache_control") == 4  # the API's maximum, which is also the number in the request


def test_calls_and_answers_of_the_assistant_may_be_marked() -> None:
    content = [
        {"type": "text", "text": "one", "cache_control": SHORT},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, "cache_control": SHORT},
    ]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}]}
    turns = [ASKED["messages"][0], {"role": "assistant", "content": content}, result]
    assert to_messages(to_chat({**ASKED, "messages": turns}).chat).body["messages"][1]["content"] == content


def test_automatic_caching_is_passed_on() -> None:
    asked = {**ASKED, "cache_control": SHORT}
    assert to_messages(to_chat(asked).chat).body["cache_control"] == SHORT
    assert "cache_control" not in for_connection(to_chat(asked).chat | {"model": "gpt"}, "openai")


def test_other_providers_get_no_marks() -> None:
    chat = {**to_chat(ASKED).chat, "model": "gpt"}
    for api_type in ("openai", "ollama", "google"):
        fitted = for_connection(chat, api_type)
        assert "cache_control" not in json.dumps(fitted)
        assert fitted["messages"][0] == {"role": "system", "content": "fixed\n\nmore"}
        assert fitted["messages"][-1] == {"role": "user", "content": "and"}
    assert "cache_control" in json.dumps(chat)  # the request itself is not modified


def test_a_gateway_with_claude_keeps_the_marks_of_texts() -> None:
    chat = {**to_chat(ASKED).chat, "model": "anthropic/claude-x"}
    fitted = for_connection(chat, "openai")
    assert fitted["messages"][0]["content"][0]["cache_control"] == HOUR
    assert json.dumps(fitted).count("cache_control") == 2


def test_a_request_without_marks_is_not_changed() -> None:
    chat = to_chat({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}).chat
    assert fit_marks(chat, "openai") is chat


def test_a_text_is_not_scanned_character_by_character() -> None:
    class Text(str):
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("the text was scanned by character, which takes a millisecond for 10 kB")

    assert last_mark(Text("You control the house.")) is None
    assert last_mark([{"type": "text", "cache_control": SHORT}, {"type": "text", "cache_control": HOUR}, "x"]) == HOUR
