"""Assembling tool calls, and matching results to calls."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.tool_calls import CallIds, WholeCalls, arguments_object
from openai_proxy.errors import UpstreamInvalid


def entry(index: int, arguments: str | None = None, **more: Any) -> dict[str, Any]:
    function = {k: v for k, v in (("name", more.pop("name", None)), ("arguments", arguments)) if v is not None}
    return {"index": index, **more, "function": function}


def named(calls: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in calls]


def test_a_call_is_returned_with_its_completing_fragment() -> None:
    calls = WholeCalls()
    assert calls.feed([entry(0, id="a", name="f")]) == []
    assert calls.feed([entry(0, '{"x": {"y": 1}')]) == []
    assert named(calls.feed([entry(0, ', "z": "}"}')])) == [("f", {"x": {"y": 1}, "z": "}"})]
    assert calls.flush() == []


def test_a_call_without_arguments_is_returned_when_the_next_begins_or_at_the_end() -> None:
    calls = WholeCalls()
    assert calls.feed([entry(0, id="a", name="f")]) == []
    assert named(calls.feed([entry(1, id="b", name="g")])) == [("f", {})]
    assert named(calls.flush()) == [("g", {})]


def test_calls_come_in_the_order_in_which_they_began() -> None:
    calls = WholeCalls()
    calls.feed([entry(0, '{"a"', id="a", name="f"), entry(1, '{"b":2}', id="b", name="g")])
    assert named(calls.feed([entry(0, ":1}")])) == [("f", {"a": 1}), ("g", {"b": 2})]


def test_arguments_must_be_an_object_at_the_end() -> None:
    calls = WholeCalls()
    calls.feed([entry(0, '{"a"', id="a", name="f")])
    with pytest.raises(UpstreamInvalid):
        calls.flush()


@given(
    st.recursive(st.integers(-(2**60), 2**60) | st.text(), lambda inner: st.dictionaries(st.text(), inner)), st.data()
)
def test_any_arguments_cut_anywhere_are_reassembled(value: Any, data: st.DataObject) -> None:
    text = orjson.dumps({"v": value}).decode()
    calls = WholeCalls()
    made = calls.feed([entry(0, id="a", name="f")])
    while text:
        cut = data.draw(st.integers(1, len(text)))
        made += calls.feed([entry(0, text[:cut])])
        text = text[cut:]
    made += calls.flush()
    assert len(made) == 1


def test_a_long_call_is_not_parsed_with_every_fragment(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr("openai_proxy.dialects.tool_calls.is_object", lambda text: looks.append(text) or False)
    calls = WholeCalls()
    for _ in range(1000):
        calls.feed([entry(0, '{"a":{}', id="a", name="f"), entry(0, "}")])
    assert len(looks) <= 64


def test_results_find_their_calls_by_id_name_and_order() -> None:
    ids = CallIds()
    first, second, third = ids.call("f"), ids.call("g", "given"), ids.call("f")
    assert len({first, second, third}) == 3
    assert second == "given"
    assert ids.result("g") == "given"
    assert ids.result("f") == first
    assert ids.result() == third
    assert ids.result() not in (first, second, third)


def test_a_duplicate_id_is_made_unique() -> None:
    ids = CallIds()
    assert [ids.call("f", "x"), ids.call("f", "x")] == ["x", "call_1"]
    assert ids.result("f", "x") == "x"
    assert ids.result("f", "x") == "x"


def test_ids_are_the_same_in_every_turn() -> None:
    one, two = CallIds(), CallIds()
    assert [one.call("f"), one.call("g")] == [two.call("f"), two.call("g")]


def test_numbers_of_arguments_are_not_changed() -> None:
    assert orjson.dumps(arguments_object('{"a": 1.0, "b": 12345678901234567890}')) == (
        b'{"a": 1.0, "b": 12345678901234567890}'
    )
    assert arguments_object("") == {}
    with pytest.raises(UpstreamInvalid):
        arguments_object("[1]")
