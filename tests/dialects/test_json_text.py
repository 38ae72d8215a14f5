"""JSON without losses: digits, halves of characters, text that is nearly JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_round_trip(value: Any):
    assert json_text.loads(json_text.dumps(value)) == value
    assert json_text.loads(json.dumps(value)) == value
    assert json_text.loads(json.dumps(value, indent=1).encode()) == value


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64 - 1, 2**64, -(2**64), 10**40])
def test_integers_of_any_size(number: int):
    text = b'{"n": [%d]}' % number
    assert json_text.loads(text) == {"n": [number]}
    assert json_text.dumps({"n": [number]}) == b'{"n":[%d]}' % number
    assert json_text.with_exact_numbers({"n": [float(number)]}, text) == {"n": [number]}


def test_text_that_is_nearly_json_is_read():
    assert json_text.loads(b'"\\ud83d"') == "\ud83d"
    assert json_text.dumps("\ud83d") == b'"\\ud83d"'
    assert json_text.loads(b'"\xff"') == "�"
    assert json_text.loads(b'"a\nb"') == "a\nb"
    assert json_text.loads(b"[NaN, Infinity]") == [None, None]
    assert json_text.loads(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


@pytest.mark.parametrize("text", ["", "{", "nope", "[" * 100_000, '{"a":1} x'])
def test_text_that_is_not_json_is_refused(text: str):
    for given_text in (text, text.encode()):
        with pytest.raises(ValueError, match=r"."):
            json_text.loads(given_text)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [('{"a":1}', {"a": 1}), ({"a": 1}, {"a": 1}), ("", {}), ("  ", {}), (None, {}), ("null", {}), ("[1]", None),
     ('{"a":', None), (5, None), ("5", None), ('{"n":18446744073709551617}', {"n": 18446744073709551617})],
)  # fmt: skip
def test_the_object_in_arguments(arguments: Any, found: Any):
    assert json_text.object_in(arguments) == found
