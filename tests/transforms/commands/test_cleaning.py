"""Requests of each API without the commands in them, as they go upstream."""

import json
from typing import Any

import pytest

from openai_proxy.transforms.commands.cleaning import Cleaned, clean
from openai_proxy.transforms.commands.mark import CommandMark

KNOWN = frozenset({"set", "help"})


def cleaned(document: dict[str, Any], path: str = "/chat/completions") -> Cleaned:
    return clean(path, document, "!/", KNOWN)


def after(document: dict[str, Any], path: str = "/chat/completions") -> Any:
    return json.loads(cleaned(document, path).applied(json.dumps(document).encode()))


def chat(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def test_commands_in_the_newest_message_count_and_older_ones_are_removed() -> None:
    document = chat(("user", "!/set(a=1) one"), ("assistant", "x"), ("user", "two !/help"))
    assert [call.name for call in cleaned(document).calls] == ["help"]
    assert after(document) == chat(("user", "one"), ("assistant", "x"), ("user", "two"))


def test_pairs_of_a_command_and_its_answer_are_removed() -> None:
    document = chat(
        ("system", "s"), ("user", "!/set(a=1)"), ("assistant", "done"), ("user", "!/nonsense"), ("assistant", "hint"),
        ("user", "Hi"),
    )  # fmt: skip
    assert after(document) == chat(("system", "s"), ("user", "Hi"))


def test_a_refused_command_without_an_answer_is_removed_alone() -> None:
    assert after(chat(("user", "!/set(a=1)"), ("user", "Hi"))) == chat(("user", "Hi"))


def test_commands_before_the_assistants_last_answer_are_ignored() -> None:
    document = chat(("user", "!/set(a=1) Hi"), ("assistant", "calls a tool"), ("tool", "!/set(b=2)"))
    assert cleaned(document).calls == []
    assert after(document)["messages"][0]["content"] == "Hi"
    assert after(document)["messages"][2]["content"] == "!/set(b=2)"


def test_a_message_of_commands_with_an_image_stays() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    document = chat(("user", [{"type": "text", "text": "!/set(a=1)"}, picture]))
    assert not cleaned(document).alone
    assert after(document) == chat(("user", [picture]))


def test_only_known_commands_are_removed() -> None:
    document = chat(("user", "!/set(a=1) do !/what(x=1)"))
    assert not cleaned(document).alone
    assert after(document) == chat(("user", "do !/what(x=1)"))
    alone = cleaned(chat(("user", " !/set(a=1) !/what ")))
    assert (alone.alone, alone.unknown) == (True, ["what"])


@pytest.mark.parametrize("text", ["!/help.", "!/set(a=1)!", " !/set(a=1), !/help. ", "!/help ?\n"])
def test_a_dictated_command_is_recognised(text: str) -> None:
    assert cleaned(chat(("user", text))).alone
    assert after(chat(("user", text), ("assistant", "done"), ("user", "Hi"))) == chat(("user", "Hi"))
    assert not cleaned(chat(("user", f"{text} so"))).alone


def test_tool_results_in_anthropics_shape_are_not_commands() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "!/set(a=1)"}]}
    document = chat(("user", "!/set(a=1) go"), ("assistant", "x"), ("user", [result]))
    found = cleaned(document, "/messages")
    assert found.calls == []
    assert not found.alone
    assert after(document, "/messages")["messages"][2]["content"] == [result]


def test_both_shapes_of_the_responses_api() -> None:
    assert after({"input": "!/set(a=1) Hi"}, "/responses") == {"input": "Hi"}
    part = {"type": "input_text", "text": "Hi !/help"}
    items = [
        {"type": "message", "role": "user", "content": [part]},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": "!/help"},
    ]
    assert [call.name for call in cleaned({"input": items[:1]}, "/responses").calls] == ["help"]
    assert cleaned({"input": items}, "/responses").calls == []
    assert after({"input": items}, "/responses")["input"][0]["content"][0]["text"] == "Hi"


def test_a_command_must_begin_a_completion_prompt() -> None:
    assert after({"prompt": "!/set(a=1) once upon"}, "/completions") == {"prompt": "once upon"}
    code = {"prompt": "# type !/help for help\n"}
    assert after(code, "/completions") == code


@pytest.mark.parametrize(
    "document", [{}, {"messages": None}, {"messages": [1, None, {"content": 3}]}, {"prompt": ["a"]}]
)
def test_malformed_requests_are_left_to_the_provider(document: dict[str, Any]) -> None:
    for path in ("/chat/completions", "/completions", "/messages", "/responses"):
        assert after(document, path) == document


@pytest.mark.parametrize("prefix", ["!/", "é/", '"/', "\\"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_prefix_is_found_however_json_writes_it(prefix: str, ascii_only: bool) -> None:
    mark = CommandMark(prefix, enabled=True)
    body = json.dumps({"a": f"x {prefix}help"}, ensure_ascii=ascii_only).encode()
    assert mark.in_body(body)
    assert mark.in_body(body.replace(b"/", b"\\/"))
    assert not mark.in_body(b'{"a":"x help"}')
    assert not CommandMark(prefix, enabled=False).in_body(body)


def test_the_prefix_is_found_after_escapes() -> None:
    assert CommandMark("!/", enabled=True).in_body(b'{"a":"\\u0021\\u002Fhelp"}')
