"""No argument can break out of its place."""

import contextlib
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_proxy.config.tool_places import read_text, read_value
from openai_proxy.tools.declared import filling
from openai_proxy.tools.declared.filling import MISSING, Arguments
from openai_proxy.tools.handler import ToolFailure

EVIL = ["@evil.com", "//evil.com", "?x=1", "#f", "a/b", "%2e%2e", "a&b=c", "é", ":80", "\\", "a b"]


def arguments(properties: dict[str, Any] | None = None, **given: Any) -> Arguments:
    return Arguments(given, {"properties": properties or {}})


@given(st.text(max_size=40) | st.sampled_from(EVIL))
@example("..%2f..")
@example("..")
@example(".")
def test_a_value_in_a_url_is_one_segment_or_refused(value: str) -> None:
    with contextlib.suppress(ToolFailure):
        url = filling.url_of(read_text("http://good.lan:81/a/{x}/b?q={x}"), arguments(x=value))
        parts = urlsplit(url)
        assert parts.netloc == "good.lan:81"
        assert parts.fragment == ""
        segments = parts.path.split("/")
        assert len(segments) == 4
        assert segments[2] not in (".", "..")
        assert unquote(segments[2], errors="strict") == value.encode("utf-8", "replace").decode()
        assert [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)] == ["q"]


@pytest.mark.parametrize(
    "value", ["..", "../x", "a/../b", "..\\x", "%2e%2e/x", "%252e%252e%252fx", "a\nb", "a\r\nHost: x", "x\0", "", " "]
)
def test_values_refused_in_a_path(value: str) -> None:
    with pytest.raises(ToolFailure):
        filling.url_of(read_text("http://h/{x}"), arguments(x=value))


def test_the_owners_url_is_sent_as_written_except_for_other_alphabets() -> None:
    url = "http://h.lan:8/a%20b/{x}/Küche?q=[1,2]&r=a+b"
    assert filling.url_of(read_text(url), arguments(x="ü")) == "http://h.lan:8/a%20b/%C3%BC/K%C3%BCche?q=[1,2]&r=a+b"


def test_a_value_and_its_neighbours_never_make_dot_segments() -> None:
    with pytest.raises(ToolFailure):
        filling.url_of(read_text("http://h/.{x}/y"), arguments(x="."))


def test_missing_values_are_reported_or_have_a_default() -> None:
    with pytest.raises(ToolFailure, match="x is missing"):
        filling.url_of(read_text("http://h/{x}"), arguments())
    found = filling.url_of(read_text("http://h/{x}"), arguments({"x": {"default": 7}}))
    assert found == "http://h/7"


@pytest.mark.parametrize("value", ["-rf", "--output=/etc/x", "-"])
def test_a_value_never_becomes_an_option(value: str) -> None:
    with pytest.raises(ToolFailure, match="must not begin with -"):
        filling.command_word(read_text("{x}"), arguments(x=value))
    assert filling.command_word(read_text("--name={x}"), arguments(x=value)) == f"--name={value}"
    assert filling.command_word(read_text("{x}"), arguments({"x": {"enum": [value]}}, x=value)) == value


def test_a_number_may_be_negative() -> None:
    assert filling.command_word(read_text("{x}"), arguments({"x": {"type": "integer"}}, x=-5)) == "-5"


@pytest.mark.parametrize("value", ["a\nb", "../../etc/passwd", "x\0y"])
def test_a_word_of_a_command_stays_one_word(value: str) -> None:
    with pytest.raises(ToolFailure):
        filling.command_word(read_text("{x}"), arguments(x=value))
    assert filling.command_word(read_text("a {x}"), arguments(x="b c; rm -rf / $(x)")) == "a b c; rm -rf / $(x)"
    assert filling.command_word(read_text("--x={x}"), arguments()) is None


def test_a_header_stays_one_line() -> None:
    with pytest.raises(ToolFailure):
        filling.header_text(read_text("a{x}"), arguments(x="b\r\nEvil: 1"))


def test_json_keeps_types_and_omits_missing_values() -> None:
    template = read_value({"n": "{n}", "t": "n is {n}", "l": ["{n}", "{m}"], "m": "{m}", "{n}": 1})
    assert filling.fill_value(template, arguments(n=3)) == {"n": 3, "t": "n is 3", "l": [3], "{n}": 1}
    assert filling.fill_value(read_value("{m}"), arguments()) is MISSING
    assert filling.fill_value(read_value("{o}"), arguments(o={"a": [True]})) == {"a": [True]}


@given(st.text(max_size=50))
def test_a_json_text_is_the_argument_itself(value: str) -> None:
    assert filling.fill_value(read_value({"a": "{x}"}), arguments(x=value)) == {"a": value}
