"""Handwritten arguments: what each of the three kinds of call accepts, and where it stops."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.prompt import templates
from openai_proxy.protocols.call_arguments import Grammar, json_like, read_arguments, words
from openai_proxy.transforms.commands import parser
from openai_proxy.upstream.echo_calls import asked_calls

STRICT = Grammar(re.compile(r"(\w+)="), json_like)
TYPED = Grammar(re.compile(r"(\w+)="), words, positional=True)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (")", []),
        (" a=1 , b=-2.5e1, )", [("a", 1), ("b", -25.0)]),
        ("a=true,b=null)", [("a", True), ("b", None)]),
        ("a='it\\'s',b=\"\\u00e4\\d\")", [("a", "it's"), ("b", "ä\\d")]),
        ('a="\\ud83d\\ude00")', [("a", "😀")]),
        ('a="\\ud83d")', [("a", "\ufffd")]),
    ],
)
def test_strict(text: str, pairs: list[tuple[str, Any]]) -> None:
    assert read_arguments(STRICT, text, 0, len(text)) == (pairs, len(text))


@pytest.mark.parametrize("text", ["", "a", "a=", "a=1", "a=1 b=2)", "1)", "a=01)", "a=True)", 'a="x', "a='\n')", ",)"])
def test_unterminated_arguments(text: str) -> None:
    assert read_arguments(STRICT, text, 0, len(text))[1] is None


def test_everything_before_a_mistake_is_kept() -> None:
    assert read_arguments(STRICT, "a=1, b=oops)", 0, 12) == ([("a", 1)], None)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("home, warm white)", [(None, "home"), (None, "warm white")]),
        (",,a=,)", [("a", None)]),
        ('"", "a, b", c=\\))', [(None, ""), (None, "a, b"), ("c", ")")]),
    ],
)
def test_arguments_as_people_type_them(text: str, pairs: list[tuple[str | None, str | None]]) -> None:
    assert read_arguments(TYPED, text, 0, len(text)) == (pairs, len(text))


@given(st.lists(st.sampled_from(["(", ")", ",", "=", '"', "'", "\\", "a", "k=", "1", " ", "\n"]), max_size=20))
def test_never_reads_past_its_limit(pieces: list[str]) -> None:
    text = "".join(pieces)
    for grammar in (STRICT, TYPED):
        for limit in range(len(text) + 1):
            assert read_arguments(grammar, text, 0, limit) == read_arguments(grammar, text[:limit], 0, limit)


def test_each_kind_of_call_has_its_own_messages() -> None:
    """The same arguments, as a template, a command and a call of the echo model."""
    assert templates.parse('{{f(a-b="x\\n", n=2)}}').calls[0].arguments == {"a-b": "x\n", "n": 2}
    assert templates.parse("{{f(a=True)}}").calls == ()
    assert parser.find('!/f(A_b="x, y", 2)', "!/")[0].arguments == (("a-b", "x, y"), (None, "2"))
    assert asked_calls('call f(a="x\ny", b=True, n=99999999999999999999)', ["f"]) == [
        ("f", {"a": "x\ny", "b": True, "n": 99999999999999999999})
    ]
    assert asked_calls(f"call f(n={'9' * 5000})", ["f"]) == [("f", {})]
