import copy

import pytest

from openai_proxy.errors import BadRequest
from openai_proxy.prompt import assembly

LINE = "Current time is 12:34:56. Today's date is 2026-08-22."


def assemble(messages, **more):
    return assembly.assemble(messages, **more).messages


def user(text):
    return {"role": "user", "content": text}


def test_our_prompt_skills_and_the_clients_prompt_make_one_message():
    messages = [{"role": "system", "content": "client"}, user("hi"), {"role": "developer", "content": "more"}]
    assert assemble(messages, ours="ours\n", skills="skills") == [
        {"role": "system", "content": "ours\n\nskills\n\nclient\n\nmore"},
        user("hi"),
    ]


def test_without_any_prompt_there_is_no_system_message():
    assert assemble([user("hi")]) == [user("hi")]
    assert assemble([{"role": "system", "content": ""}, user("hi")]) == [user("hi")]


def test_content_may_be_text_parts_or_missing():
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "system"},
        {"role": "system", "content": None},
        user([{"type": "text", "text": "hi"}]),
    ]
    assert assemble(messages, ours="o")[0] == {"role": "system", "content": "o\n\na\n\nb"}


def test_parts_other_than_text_are_kept():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    (first, _) = assemble([{"role": "system", "content": [{"type": "text", "text": "a"}, image]}, user("x")], ours="o")
    assert first["content"] == [{"type": "text", "text": "o\n\na"}, image]


def test_the_line_that_changes_every_turn_moves_after_the_newest_user_message():
    prompt = f"You are a voice assistant.\n{LINE}"
    turn = [
        {"role": "system", "content": prompt},
        user("light on"),
        {"role": "assistant", "content": "done"},
        user("off"),
    ]
    system, first, _, newest = assemble(turn, ours="ours")
    assert system["content"] == "ours\n\nYou are a voice assistant."
    assert first == user("light on")
    assert newest["content"] == f"off\n\n{LINE}"


def test_it_stays_there_while_tools_answer():
    turn = [
        {"role": "system", "content": f"x\n{LINE}\ny"},
        user([{"type": "text", "text": "on"}]),
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ]
    result = assemble(turn)
    assert result[0]["content"] == "x\ny"
    assert result[1]["content"] == [{"type": "text", "text": "on"}, {"type": "text", "text": LINE}]
    assert result[2:] == turn[2:]


def test_without_a_user_message_it_is_the_last_line_of_the_prompt():
    assert assemble([{"role": "system", "content": f"a\n{LINE}\nb"}], ours="o")[0]["content"] == f"o\n\na\nb\n\n{LINE}"


def test_the_room_moves_too_and_values_precede_home_assistants_text():
    generic = "and all generic commands like 'turn on the lights' should target this area."
    room = f"You are in area Kitchen (floor Ground) {generic}"
    prompt = f"Call the intent tools.\n{room}\nThis device does not support timers.\nDevices:\n- x\n{LINE}"
    found = assembly.assemble([{"role": "system", "content": prompt}, user("on")], ours="o", changing="Six.")
    assert found.messages[0]["content"] == "o\n\nCall the intent tools.\nDevices:\n- x"
    assert found.tail == f"Six.\n{room}\nThis device does not support timers.\n{LINE}"
    assert found.messages[1]["content"] == f"on\n\n{found.tail}"


@pytest.mark.parametrize(
    ("prompt", "left", "device"),
    [
        ("a [[ha device_id=abc123]] b", "a b", "abc123"),
        ("[[ha device_id=abc user=x]]\nYou are it.", "You are it.", "abc"),
        ("a\n[[ha  user=x device_id=01J.a:b-c ]]\nb", "a\nb", "01J.a:b-c"),
        ("a [[ha device_id=None]]", "a", ""),
        ("a [[ha device_id=]]", "a", ""),
        ("a [[ha device_id=../etc/passwd]]", "a", ""),
        ("a [[ha]]", "a", ""),
        ("a [[hall device_id=x]]", "a [[hall device_id=x]]", ""),
        ("a [[ha device_id=x", "a [[ha device_id=x", ""),
    ],
)
def test_the_satellite_is_removed_from_a_system_message(prompt, left, device):
    found = assembly.assemble([{"role": "system", "content": prompt}, user("[[ha device_id=mine]]")])
    assert found.messages[0]["content"] == left
    assert found.device == device
    assert found.messages[1] == user("[[ha device_id=mine]]"), "text of the user must not be changed"


HA = {"role": "system", "content": "You are a voice assistant for Home Assistant."}
OTHER = {"role": "system", "content": "You are a compiler."}


def assistant(text):
    return {"role": "assistant", "content": text}


def test_home_assistants_own_errors_are_not_attributed_to_the_model():
    history = [
        user("a"),
        assistant("Error: API error: boom"),
        user("b"),
        assistant("(no response)"),
        user([{"type": "text", "text": "c"}]),
    ]
    (_, only) = assemble([HA, *history])
    assert only["content"] == [{"type": "text", "text": "a\n\nb"}, {"type": "text", "text": "c"}]
    assert assemble([HA, user("a"), assistant("Error: x\nand an explanation"), user("b")])[2]["content"].startswith(
        "Error"
    )
    assert assemble([OTHER, user("a"), assistant("Error: no such file"), user("b")])[2] == assistant(
        "Error: no such file"
    )
    assert assemble([OTHER, user("a"), assistant("(no response)"), user("b")])[1:] == [user("a\n\nb")]


@pytest.mark.parametrize("text", ["Current time is noon.", f"He said: {LINE}", f"{LINE} And more.", LINE.lower()])
def test_similar_texts_stay(text):
    assert assemble([{"role": "system", "content": text}, user("x")])[0]["content"] == text


def test_the_beginning_stays_the_same_from_turn_to_turn():
    def turn(time, *messages):
        return assemble(
            [{"role": "system", "content": f"HA\nCurrent time is {time}. Today's date is 2026-08-22."}, *messages]
        )

    first = turn("12:00:00", user("on"))
    second = turn("12:00:09", user("on"), {"role": "assistant", "content": "ok"}, user("off"))
    assert first[0] == second[0]
    assert first[1]["content"].startswith(second[1]["content"])


def test_incomplete_messages_are_completed_and_our_members_removed():
    messages = [
        {"role": "assistant", "proxy_status": {"x": 1}, "reasoning_content": "hm"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "tool", "tool_call_id": "injected_content"},
    ]
    assert assemble(messages) == [
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "tool", "tool_call_id": "injected_content", "content": ""},
    ]


def test_the_clients_messages_are_never_changed():
    messages = [
        {"role": "system", "content": f"a\n{LINE}"},
        user([{"type": "text", "text": "x"}]),
        {"role": "assistant"},
    ]
    before = copy.deepcopy(messages)
    assemble(messages, ours="o", skills="s")
    assert messages == before


def test_a_message_that_is_not_an_object_is_a_bad_request():
    with pytest.raises(BadRequest):
        assemble(["hello"])
