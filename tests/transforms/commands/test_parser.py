"""Commands in a text: what is one, what merely resembles one, and what remains once they are removed."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.transforms.commands.parser import find, without


def named(text: str, prefix: str = "!/") -> list[tuple[str, dict[str | None, str]]]:
    return [(call.name, dict(call.arguments)) for call in find(text, prefix)]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("!/help", "help", {}),
        ("!/help()", "help", {}),
        ("!/help.", "help", {}),
        ("!/set(model=gpt-4o)", "set", {"model": "gpt-4o"}),
        ("!/Set( Model = gpt-4o , backend=x )", "set", {"model": "gpt-4o", "backend": "x"}),
        ("!/set(model=openrouter:mistralai/mistral-7b:free)", "set", {"model": "openrouter:mistralai/mistral-7b:free"}),
        ('!/set(model="a, b) c")', "set", {"model": "a, b) c"}),
        ("!/set(model='say \"hi\"')", "set", {"model": 'say "hi"'}),
        (r'!/set(model="a\"b\\c")', "set", {"model": 'a"b\\c'}),
        (r"!/set(model=a\,b\))", "set", {"model": "a,b)"}),
        ("!/unset(model)", "unset", {None: "model"}),
        ("!/set(redact_api_keys_in_prompts=off)", "set", {"redact-api-keys-in-prompts": "off"}),
        ("!/create_failover_route(name=x)", "create-failover-route", {"name": "x"}),
        ("!/set(model=)", "set", {"model": ""}),
        ("!/set(\n  model = x,\n  backend = y\n)", "set", {"model": "x", "backend": "y"}),
        ("first, !/set(model=größe)!", "set", {"model": "größe"}),
    ],
)
def test_a_command_is_read(text: str, name: str, arguments: dict[str | None, str]) -> None:
    assert named(text) == [(name, arguments)]


@pytest.mark.parametrize(
    "text",
    [
        "", "!/", "#!/bin/sh", "#!/usr/bin/env python", "x!/help", "`!/help`", "! /help", "!/ help", "!/1", "!/bin/sh",
        "!/set(model=x", '!/set(model="x)', '!/set(model="x"y)', "!!/help", "!/help-", "a/!/help",
        "```\n!/help\n```", "~~~sh\n!/set(model=x)\n~~~", "```\n!/set(model=x)",
        # looks like the end of a fence but is not one
        "```\n```python\n!/help\n```", "````\n```\n!/help\n````", "```\n~~~\n!/help\n```", "   ```\n!/help\n   ```",
        # inline code
        "use ` !/help `", "`a !/set(model=x) b`", "`` a ` !/help ``", "`a\n!/help b`", "x `` ` !/help `` y",
        # quoted lines
        "> !/help", ">!/help", "  > see\n  > !/set(model=x)", "> a\n> !/help\n", ">> !/help",
        # in a list
        "- > !/help", "1. > !/help", "* - > !/help", "1. ```\n   !/help\n   ```", "- a\n  - ```sh\n    !/help\n    ```",
        "10) ~~~\n    !/help\n    ~~~\n",
    ],
)  # fmt: skip
def test_texts_that_resemble_a_command_are_not_commands(text: str) -> None:
    assert [call for call in find(text, "!/") if call.name != "help-"] == []


@pytest.mark.parametrize(
    "text",
    [
        "it` !/help", "` !/help", "a `` b ` c !/help", "`a` !/help", "`a`\n!/help\n`b`", "`a\n\n!/help\n\nb`",
        "\\` !/help `", "> quoted\n!/help", "a > b !/help", "1. > x\n!/help", "    > !/help",
        "- !/help", "1. ```\n   x\n   ```\n   !/help", "- > x\n- !/help", "```\nx\n```\n!/help",
        "``` a ` b\n!/help", "~~ !/help ~~", "-> !/help",
    ],
)  # fmt: skip
def test_a_command_beside_code_and_quotes_counts(text: str) -> None:
    assert [name for name, _ in named(text)] == ["help"]


def test_several_commands_in_one_message_are_read_in_order() -> None:
    assert [name for name, _ in named("!/set(model=a) Hello !/unset(backend)\n!/help")] == ["set", "unset", "help"]
    assert [name for name, _ in named("```\n!/hello\n```\n!/help")] == ["help"]


def test_a_command_may_directly_follow_another() -> None:
    text = "!/create-failover-route(name=r)!/route-append(name=r,target=a.b)!/hello!/help"
    assert [name for name, _ in named(text)] == ["create-failover-route", "route-append", "hello", "help"]
    assert without(text + " Hi", find(text + " Hi", "!/")) == "Hi"
    assert named("!/set(model=a)x!/help") == [("set", {"model": "a"})]


@pytest.mark.parametrize("prefix", ["!/", "$$", "/", "cmd:", "(?:", "\\", '"', "é/"])
def test_any_prefix_works(prefix: str) -> None:
    assert named(f"{prefix}set(model=a) and {prefix}help", prefix) == [("set", {"model": "a"}), ("help", {})]


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("!/help", ""),
        ("!/set(model=a) Hello", "Hello"),
        ("Hello !/set(model=a)", "Hello"),
        ("Hello !/set(model=a) world", "Hello world"),
        ("!/help\nHello\n", "Hello\n"),
        ("Hello\n!/help\nworld", "Hello\nworld"),
        ("Hello\n  !/help\nworld", "Hello\n\nworld"),
        ("!/help !/hello  Hi", "Hi"),
        ("a  !/help  b", "a  b"),
        ("Hi, !/help.", "Hi,."),
    ],
)
def test_the_remaining_text_shows_no_trace_of_the_command(text: str, rest: str) -> None:
    assert without(text, find(text, "!/")) == rest


WORDS = st.text(st.sampled_from(string.ascii_letters + " \n.,`!/()=\"'\\#é"), max_size=40)


@given(WORDS)
def test_the_remaining_text_is_a_part_of_any_text(text: str) -> None:
    calls = find(text, "!/")
    assert all(text[call.start :].startswith("!/") and call.end <= len(text) for call in calls)
    rest = without(text, calls)
    letters = iter(text)
    assert all(letter in letters for letter in rest)  # nothing new and in the same order
    if not calls:
        assert rest == text


@given(
    st.dictionaries(
        st.text(string.ascii_lowercase, min_size=1, max_size=8), st.text(max_size=20).map(str.strip), max_size=4
    )
)
def test_quoted_values_are_restored(arguments: dict[str, str]) -> None:
    escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in arguments.items()}
    written = ", ".join(f'{key}="{value}"' for key, value in escaped.items())
    text = f"!/set({written})"
    assert named(text) == [("set", dict(arguments))]


def test_parsing_takes_linear_time() -> None:
    """Each text would take minutes if every unterminated command were searched to the end."""
    fenced = "```\n!/x\n```\n" * 50_000
    odd = "".join("`" * (n % 400 + 1) + " !/x " for n in range(3000))
    for text in (odd, "` !/x `` " * 50_000, "> !/x\n" * 50_000, "`\n\n" * 50_000 + " !/x"):
        find(text, "!/")
    lists = "- " * 50_000 + "\n" + "1. - " * 50_000 + "```\n"
    for text in (
        lists,
        " !/set(" * 50_000,
        " !/a(b=" * 50_000,
        ' !/a("' * 50_000,
        " !/x" * 50_000,
        "```\n" * 50_000,
        fenced,
    ):
        find(text, "!/")
