"""Requests built from an action and its arguments, and results built from the answers."""

import json
from typing import Any

import pytest

from openai_proxy.config.tool_file import HttpAction
from openai_proxy.config.tool_places import read_text, read_value
from openai_proxy.tools.declared.request import make_request, read_answer
from openai_proxy.tools.handler import ToolFailure

PARAMETERS = {"properties": {name: {} for name in "abc"}}


def action(**members: Any) -> HttpAction:
    return HttpAction("GET", read_text(members.pop("url", "http://h/x")), **members)


def test_a_query_member_without_its_argument_is_left_out_and_lists_repeat() -> None:
    query = (("a", read_text("{a}")), ("b", read_text("x{b}")), ("c", read_text("{c}")), ("fixed", 1))
    made = make_request(action(query=query), PARAMETERS, {"c": ["1&2", True], "b": None})
    assert made.url == "http://h/x?c=1%262&c=true&fixed=1"
    made = make_request(action(url="http://h/x?k=1", query=query), PARAMETERS, {"a": "", "b": "y"})
    assert made.url == "http://h/x?k=1&a=&b=xy&fixed=1"


def test_a_json_body_has_its_content_type() -> None:
    made = make_request(action(json=read_value({"on": "{a}"}), has_json=True), PARAMETERS, {"a": False})
    assert json.loads(made.body or b"") == {"on": False}
    assert made.headers == {"Content-Type": "application/json"}
    made = make_request(action(json=None, has_json=True), PARAMETERS, {})
    assert made.body == b"null"


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("application/x-www-form-urlencoded", b"v=a%26x%3D1%22"),
        ("application/json", b'v=a&x=1\\"'),
        ("text/plain", b'v=a&x=1"'),
    ],
)
def test_an_argument_in_a_text_body_stays_one_value(kind: str, sent: bytes) -> None:
    headers = (("content-type", read_text(kind)),)
    made = make_request(action(body=read_text("v={a}"), headers=headers), PARAMETERS, {"a": 'a&x=1"'})
    assert made.body == sent


def test_a_header_without_its_argument_is_left_out() -> None:
    headers = (("X-A", read_text("{a}")), ("X-B", read_text("b")))
    assert make_request(action(headers=headers), PARAMETERS, {}).headers == {"X-B": "b"}


def test_a_result_is_a_path_in_the_answer() -> None:
    body = b'{"a": [{"b": "text"}, {"b": 2}]}'
    assert read_answer(200, "OK", "application/json", body, ("a", "0", "b")) == "text"
    assert read_answer(200, "OK", "application/json", body, ("a", "-1")) == {"b": 2}
    with pytest.raises(ToolFailure, match=r"The answer has no a\.5"):
        read_answer(200, "OK", "application/json", body, ("a", "5", "b"))
    with pytest.raises(ToolFailure, match="not JSON"):
        read_answer(200, "OK", "text/html", b"<p>", ("a",))


def test_errors_have_their_status_and_binary_answers_are_named() -> None:
    with pytest.raises(ToolFailure, match="HTTP 404 Not Found: no such city"):
        read_answer(404, "Not Found", "text/plain", b"no such  city\n", ())
    with pytest.raises(ToolFailure, match=r"^HTTP 500 Oops$"):
        read_answer(500, "Oops", "image/png", b"\x89PNG", ())
    assert read_answer(200, "OK", "image/png", b"\x89\0PNG", ()) == "(image/png, 5 bytes)"
    assert read_answer(200, "OK", "text/plain; charset=latin-1", b"\xe9", ()) == "é"
    assert read_answer(200, "OK", "text/plain; charset=nonsense", b"e", ()) == "e"
