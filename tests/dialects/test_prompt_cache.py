import copy

import pytest

from openai_proxy.dialects.messages.cache_marks import cacheable_messages, marked_chat
from openai_proxy.dialects.prompt_cache import ANTHROPIC, CHAT, CLAUDE, kept_cacheable, marks, whose

LINE = "Current time is 12:34:56. Today's date is 2026-08-22."
PROMPT = f"You are a voice assistant for Home Assistant.\n{LINE}"
FIXED = "You are a voice assistant for Home Assistant."
MARK = {"type": "ephemeral"}
ATTRIBUTION = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.295; cch=abcde;"}


def tool(name):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def user(content):
    return {"role": "user", "content": content}


def text(value, **more):
    return {"type": "text", "text": value, **more}


def unchanged(document, dialect, cache=CHAT):
    before = copy.deepcopy(document)
    changed = kept_cacheable(document, dialect, cache)
    assert document == before
    return changed


def test_the_type_of_a_connections_cache():
    assert whose("openai", "https://api.openai.com/v1") == CHAT
    assert whose("anthropic", "https://api.anthropic.com/v1") == ANTHROPIC
    assert whose("anthropic", "http://127.0.0.1:8080/v1") == CLAUDE


def test_a_chat_request_keeps_a_constant_beginning():
    chat = {"messages": [{"role": "system", "content": PROMPT}, user("on")], "tools": [tool("b"), tool("a")]}
    changed = unchanged(chat, "chat")
    assert changed == {
        "messages": [{"role": "system", "content": FIXED}, user(f"on\n\n{LINE}")],
        "tools": [tool("a"), tool("b")],
    }
    assert kept_cacheable({**chat, **changed}, "chat", CHAT) == {}, "a second pass must change nothing"


@pytest.mark.parametrize(
    "chat",
    [
        {"messages": [user("on")]},
        {"messages": [{"role": "system", "content": FIXED}, user("on")], "tools": [tool("a"), tool("b")]},
        {"messages": [{"role": "system", "content": PROMPT}]},
        {"messages": [{"role": "system", "content": PROMPT}, {"role": "user"}]},
        {"messages": [{"role": "system", "content": None}, user("on")], "tools": [{"type": "web_search"}, tool("a")]},
        {"messages": "nonsense", "tools": "nonsense"},
        {"messages": [1, None]},
        {"messages": [], "tools": [None]},
    ],
)
def test_ordered_and_unreadable_requests_are_unchanged(chat):
    assert unchanged(chat, "chat") == {}


def test_parts_of_a_system_message_and_of_the_newest_one():
    chat = {"messages": [{"role": "developer", "content": [text(FIXED), text(LINE)]}, user([text("on")])]}
    assert unchanged(chat, "chat")["messages"] == [
        {"role": "developer", "content": [text(FIXED)]},
        user([text("on"), text(LINE)]),
    ]


def test_a_system_message_with_only_the_time_is_removed():
    chat = {"messages": [{"role": "system", "content": LINE}, user("on")]}
    assert unchanged(chat, "chat")["messages"] == [user(f"on\n\n{LINE}")]


def test_claude_gets_marks_before_what_changes():
    chat = {"model": "claude", "messages": [{"role": "system", "content": PROMPT}, user("on")]}
    assert unchanged(chat, "chat", CLAUDE)["messages"] == [
        {"role": "system", "content": [text(FIXED, cache_control=MARK)]},
        user([text("on", cache_control=MARK), text(LINE)]),
    ]


def test_a_round_of_tool_calls_adds_a_mark_but_not_through_a_gateway():
    call = {"role": "assistant", "tool_calls": [{"id": "1"}]}
    result = {"role": "tool", "tool_call_id": "1", "content": "ok"}
    messages = [user("on"), call, result]
    assert marked_chat({"messages": messages})["messages"][2] == {**result, "cache_control": MARK}
    chat = {"model": "anthropic/claude-opus-4.1", "messages": messages}
    through_gateway = marks(chat, "", CHAT)["messages"]
    assert through_gateway[0] == user([text("on", cache_control=MARK)])
    assert through_gateway[2] == result
    assert marks({**chat, "model": "gpt-6"}, "", CHAT) == {}


@pytest.mark.parametrize(
    "place",
    [
        {"cache_control": MARK},
        {"tools": [{**tool("a"), "cache_control": MARK}]},
        {"tools": [{"type": "function", "function": {"name": "a", "cache_control": MARK}}]},
        {"messages": [user([text("a", cache_control=MARK)])]},
        {"messages": [user([text("")]), {"role": "tool", "content": "x", "cache_control": MARK}]},
    ],
)
def test_a_clients_own_marks_are_kept(place):
    assert marked_chat({"messages": [user("a")], **place}) == {}


@pytest.mark.parametrize("messages", [[], "x", [user("")], [user([])], [user([text(" ")])], [user(None)], [1]])
def test_unmarkable_messages_are_not_marked(messages):
    assert marked_chat({"messages": messages}) == {}


def test_a_messages_request_keeps_its_beginning_and_is_marked():
    document = {
        "system": [ATTRIBUTION, text(PROMPT)],
        "messages": [user("a"), {"role": "assistant", "content": "b"}, user("c")],
        "tools": [{"name": "b"}, {"name": "a"}],
    }
    assert unchanged(document, "messages", CLAUDE) == {
        "system": [text(FIXED, cache_control=MARK)],
        "messages": [
            *document["messages"][:2],
            user([text("c", cache_control=MARK), ATTRIBUTION, text(LINE)]),
        ],
        "tools": [{"name": "a"}, {"name": "b"}],
    }
    assert unchanged(document, "messages", ANTHROPIC)["system"] == [ATTRIBUTION, text(FIXED, cache_control=MARK)]


def test_a_messages_request_with_marks_of_its_own():
    document = {"system": [text("s", cache_control=MARK)], "messages": [user("a")]}
    assert unchanged(document, "messages", CLAUDE) == {}
    document["system"].insert(0, ATTRIBUTION)
    assert unchanged(document, "messages", CLAUDE) == {
        "system": [text("s", cache_control=MARK)],
        "messages": [user([text("a"), ATTRIBUTION])],
    }
    for nonsense in ({"messages": 1}, {"messages": [1]}, {"messages": []}, {"system": 3, "messages": [user(3)]}):
        assert cacheable_messages(nonsense, at_anthropic=False) == {}


def test_a_responses_request_keeps_its_beginning():
    document = {
        "instructions": PROMPT,
        "input": [
            {"role": "developer", "content": [{"type": "input_text", "text": f"More.\n{LINE}"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "on"}]},
            {"type": "function_call_output", "call_id": "1", "output": "ok"},
        ],
    }
    changed = unchanged(document, "responses")
    assert changed["instructions"] == FIXED
    assert changed["input"] == [
        {"role": "developer", "content": [{"type": "input_text", "text": "More."}]},
        {"role": "user", "content": [{"type": "input_text", "text": t} for t in ("on", f"{LINE}\n{LINE}")]},
        document["input"][2],
    ]
    assert unchanged({"instructions": PROMPT, "input": "on"}, "responses")["input"] == f"on\n\n{LINE}"
    text_item = {"role": "system", "content": PROMPT}
    assert unchanged({"input": [text_item, user("on")]}, "responses")["input"] == [
        {"role": "system", "content": FIXED},
        user(f"on\n\n{LINE}"),
    ]
    for nothing in ({}, {"input": None}, {"instructions": PROMPT, "input": []}, {"input": [1]}, {"input": [text_item]}):
        assert unchanged(nothing, "responses") == {}
