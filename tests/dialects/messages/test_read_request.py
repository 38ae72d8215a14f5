"""Messages requests as chat requests."""

from typing import Any

import pytest

from openai_proxy.dialects.estimate import estimate_tokens
from openai_proxy.dialects.messages.read_request import to_chat
from openai_proxy.dialects.messages.write_request import to_messages
from openai_proxy.errors import BadRequest, NotFound

USER = {"role": "user", "content": "hi"}


def chat(messages: Any = None, **more: Any) -> dict[str, Any]:
    return to_chat({"model": "m", "max_tokens": 9, "messages": messages or [USER], **more}).chat


def test_a_request_with_everything():
    made = chat(
        [
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                                         {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                                      "data": "QUE="}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""},
                                              {"type": "text", "text": "b"},
                                              {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": True, "content":
                                          [{"type": "text", "text": "down"}]}, {"type": "text", "text": "c"}]},
        ],
        system=[{"type": "text", "text": "s1"}, {"type": "text", "text": "s2"}], stop_sequences=["X"], stream=True,
        tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True}, metadata={"user_id": "u"},
        thinking={"type": "enabled", "budget_tokens": 9000},
    )  # fmt: skip
    assert made["messages"] == [
        {"role": "system", "content": "s1\n\ns2"},
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                                     {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUE="}}]},
        {"role": "assistant", "content": "b", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
            "reasoning_content": "t"},
        {"role": "tool", "tool_call_id": "1", "content": "Error: down"},
        {"role": "user", "content": "c"},
    ]  # fmt: skip
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    assert made["tools"] == [{"type": "function", "function": function}]
    assert (made["tool_choice"], made["parallel_tool_calls"]) == ("required", False)
    assert (made["stop"], made["user"], made["reasoning_effort"], made["max_tokens"]) == (["X"], "u", "medium", 9)
    assert made["stream_options"] == {"include_usage": True}


def test_signed_thinking_survives_a_round_trip():
    blocks = [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
              {"type": "text", "text": "x"}, {"type": "tool_use", "id": "1", "name": "f", "input": {}}]  # fmt: skip
    turns = [USER, {"role": "assistant", "content": blocks},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "r"}]}]  # fmt: skip
    again = to_messages(chat(turns)).body["messages"]
    assert again[1:] == turns[1:]


@pytest.mark.parametrize(
    "bad",
    [{"mcp_servers": [{}]}, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"messages": []},
     {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [{"role": "user", "content": 5}]},
     {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
     {"tools": [{"name": "f"}], "tool_choice": {"type": "maybe"}}, {"system": 5}],
)  # fmt: skip
def test_members_without_an_equivalent_are_a_400(bad: Any):
    with pytest.raises(BadRequest):
        to_chat({"model": "m", "messages": [USER], **bad})


def test_omitted_members_are_reported_and_tokens_are_estimated():
    request = {"model": "m", "messages": [USER], "top_k": 4, "service_tier": "auto"}
    assert to_chat(request).dropped == ("top_k", "service_tier")
    assert 1 < estimate_tokens(request) < 40


def test_images_and_pages_have_fixed_estimates():
    def picture(size: int) -> list[Any]:
        source = {"type": "base64", "media_type": "image/png", "data": "A" * size}
        return [{"role": "user", "content": [{"type": "image", "source": source}]}]

    small, large = (estimate_tokens({"messages": picture(size)}) for size in (1000, 1_000_000))
    assert small == large
    assert 1000 < large < 3000
    result = {"type": "tool_result", "tool_use_id": "t", "content": picture(1_000_000)[0]["content"]}
    assert estimate_tokens({"messages": [{"role": "user", "content": [result]}]}) < 3000
    document = {"type": "document", "source": {"type": "base64", "data": "A" * 400_000}}
    assert 5000 < estimate_tokens({"messages": [{"role": "user", "content": [document]}]}) < 12_000
    text = {"type": "document", "source": {"type": "text", "data": "word " * 4000}}
    assert estimate_tokens({"messages": [{"role": "user", "content": [text]}]}) > 4000


def test_integers_keep_their_digits():
    assert chat(max_tokens=150.0)["max_tokens"] == 150
    assert isinstance(chat(max_tokens=150.0)["max_tokens"], int)
    block = {"type": "tool_use", "id": "1", "name": "f", "input": {"n": 2**64 + 1}}
    turns = [USER, {"role": "assistant", "content": [block]}]
    assert chat(turns)["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"n":18446744073709551617}'
    again = to_messages({**chat(turns), "max_tokens": 150.0}).body
    assert again["messages"][1]["content"] == [block]
    assert again["max_tokens"] == 150
    assert chat([{"role": "assistant", "content": ""}, USER])["messages"][0]["content"] == ""


def test_system_messages_are_merged_at_the_beginning():
    inner = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "s2"}, {"role": "user", "content": "Go"}]
    assert chat(inner, system="s1")["messages"] == [
        {"role": "system", "content": "s1\n\ns2"},
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "Go"},
    ]


def test_claude_codes_attribution_block_is_removed_from_the_prompt():
    blocks = [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1f;"}]
    assert [m["role"] for m in chat(system=blocks)["messages"]] == ["user"]
    assert chat(system=[*blocks, {"type": "text", "text": "Code."}])["messages"][0]["content"] == "Code."


def test_a_conversation_stored_elsewhere_is_not_found():
    with pytest.raises(NotFound) as caught:
        chat(thread={"type": "continue", "id": "t1"})
    assert caught.value.code == "thread_not_found"
    assert "thread" not in chat(thread={"type": "create"})


def test_a_deferred_tool_is_offered_once_a_search_has_found_it():
    tools = [
        {"name": "search", "input_schema": {"type": "object"}},
        {"name": "weather", "input_schema": {"type": "object"}, "defer_loading": True},
    ]
    assert [t["function"]["name"] for t in chat(tools=tools)["tools"]] == ["search"]
    reference = {"type": "tool_reference", "tool_name": "weather"}
    made = chat(
        [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "search", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [reference]}]},
        ],
        tools=tools,
    )
    assert [t["function"]["name"] for t in made["tools"]] == ["search", "weather"]
    assert "weather" in made["messages"][-1]["content"]
    assert "tools" not in chat(tools=tools[1:])


def test_unsigned_thinking_is_sent_as_text():
    content = [{"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "Hi"}]
    made = chat([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content}])["messages"][1]
    assert made["reasoning_content"] == "Hm."
    assert "reasoning_details" not in made


def test_omitted_parts_of_an_earlier_answer_are_named() -> None:
    answer = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "It rains."},
        {"type": "redacted_thinking", "data": "x"},
    ]
    messages = [USER, {"role": "assistant", "content": answer}, USER]
    read = to_chat({"model": "m", "max_tokens": 9, "messages": messages})
    assert read.chat["messages"][1]["content"] == "It rains."
    assert read.dropped == ("messages.server_tool_use", "messages.web_search_tool_result")
