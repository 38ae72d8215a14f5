"""Placeholders and variables in one text are distinguished before either is filled in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.config.interpolate import MissingVariable
from openai_proxy.config.tool_places import ArgumentPlace, PlacedText, read_text, read_value


def test_placeholders_variables_and_dollars_are_distinguished() -> None:
    read = read_text("{a}-${B}-$$-${C:-d}-{e-f}", {"B": "beta"})
    assert read.parts == (ArgumentPlace("a"), "-beta-$-d-", ArgumentPlace("e-f"))
    assert read.places == ("a", "e-f")


def test_a_secret_with_braces_is_text() -> None:
    assert read_text("Bearer ${T}", {"T": "x{y}$$${Z}"}).parts == ("Bearer x{y}$$${Z}",)
    assert read_text("env:T", {"T": "{y}"}).parts == ("{y}",)


def test_doubled_braces_become_single_ones() -> None:
    assert read_text("{{a}} { b } {} {1} {a").parts == ("{a} { b } {} {1} {a",)


def test_without_an_environment_variables_are_text() -> None:
    assert read_text("${A} {b}").parts == ("${A} ", ArgumentPlace("b"))


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(MissingVariable) as missing:
        read_text("x${NOPE}", {})
    assert missing.value.name == "NOPE"


def test_only_a_lone_placeholder_is_a_whole_value() -> None:
    assert read_text("{a}").whole == "a"
    assert read_text("{a} ").whole is None
    assert read_text("{a}{b}").whole is None
    assert read_value({"k": ["{a}", 1, None]}) == {"k": [PlacedText((ArgumentPlace("a"),)), 1, None]}


@given(st.text(alphabet="ab{}$ :-", max_size=30))
def test_plain_text_is_returned_unchanged(text: str) -> None:
    read = read_text(text)
    written = "".join(part if isinstance(part, str) else "{" + part.name + "}" for part in read.parts)
    for name in ("a", "b", "ab", "ba"):
        text = text.replace("{{" + name + "}}", "{" + name + "}")
    assert len(written) <= len(text) or written == text
