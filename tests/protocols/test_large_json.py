"""A large body is read in small steps, and as `parse_object` and `scan` read it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.errors import BadRequest, ProxyError, TooLarge
from openai_proxy.protocols import large_json
from openai_proxy.protocols.json_members import parse_object, scan
from openai_proxy.protocols.large_json import read_object

ODD = [
    b"{}", b' { } ', b'{"a":1}', b'{"a":[]}', b'{"a":{},"b":[{}]}', b'{"a":-1.5e3,"b":true,"c":false,"d":null}',
    b'{"a":"\\u00e9\\ud83d\\ude00\\ud83d"}', b'{"a":"\\ud83d"}', b'{"a":18446744073709551616}', b'{"a":1e999}',
    b'{"model":"x","model":"y"}', b'{"MODEL":"x"}', b'{"a":1,"a":2}', '{"ä":"ß€😀"}'.encode(),
    b'{"a":"' + b"x" * 300 + b'"}',
    b"", b" ", b"[", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{"a":[1,]}', b'{"a" 1}', b"{1:2}",
    b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":1.}', b'{"a":tru}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":"\n"}',
    b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":"\xff"}', b'{"a":"\x80"}', b'{"a":"\xe2\x82"}', b'{"a":]}', b'{"a":[1}',
    b'[1]',
    b'"a"', b"1", b"null", b"{}{}", b"{} x", b'{"a":1}\0', b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"),
    b'{"a":' + b"9" * 6000 + b"}", b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", b'{"a":"\xed\xa0\x80"}',
]  # fmt: skip


def outcome(read: Any, body: bytes) -> Any:
    try:
        return read(body)
    except ProxyError as error:
        return error.status, error.code


@pytest.fixture(params=[1, 2, 3, 7, 256 * 1024], ids=lambda size: f"window of {size}")
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of a step: whatever is cut, the result is the same. No step may be shorter than an escape."""
    size = max(int(request.param), 6)
    monkeypatch.setattr(large_json, "WINDOW", size)
    return size


@pytest.mark.parametrize("body", ODD, ids=lambda body: body[:24])
def test_what_is_odd_is_read_or_refused_alike(window: int, body: bytes) -> None:
    expected = outcome(parse_object, body)
    found = outcome(read_object, body)
    if isinstance(expected, dict):
        assert found == (expected, scan(body))
    else:
        assert found == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=8), VALUES, max_size=6),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.integers(6, 40),
)
def test_any_document_is_read_as_it_is(
    document: dict[str, Any], ascii_only: bool, indent: int | None, size: int
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    before, large_json.WINDOW = large_json.WINDOW, size  # type: ignore[misc]  # small, so that everything is cut
    try:
        found = outcome(read_object, body)
    finally:
        large_json.WINDOW = before  # type: ignore[misc]
    expected = outcome(parse_object, body)
    assert found == ((expected, scan(body)) if isinstance(expected, dict) else expected)


@given(st.binary(max_size=60), st.integers(6, 20))
def test_any_bytes_are_read_or_refused_alike(noise: bytes, size: int) -> None:
    before, large_json.WINDOW = large_json.WINDOW, size  # type: ignore[misc]
    try:
        for body in (noise, b'{"a":' + noise + b"}", b'{"a":"' + noise + b'"}'):
            expected = outcome(parse_object, body)
            found = outcome(read_object, body)
            assert (found[0] if isinstance(expected, dict) else found) == expected
    finally:
        large_json.WINDOW = before  # type: ignore[misc]


def test_more_values_than_any_prompt_has_are_refused() -> None:
    for unit in (b"1", b"[]", b"{}"):
        body = b'{"a":[' + b",".join([unit] * (large_json.MAX_VALUES + 1)) + b"]}"
        with pytest.raises(TooLarge) as caught:
            read_object(body)
        assert caught.value.code == "too_many_values"


def test_no_step_looks_at_more_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter lock can change hands: no step is longer than a window, however long the string."""
    longest = 0

    def loads(text: bytes) -> Any:
        nonlocal longest
        longest = max(longest, len(text))
        return json.loads(text)

    monkeypatch.setattr(large_json, "_loads", loads)
    text = "word \\n" * 400_000
    document, _ = read_object(b'{"messages":[{"content":"' + text.encode() + b'"}]}')
    assert document["messages"][0]["content"] == text.replace("\\n", "\n")
    assert longest <= large_json.WINDOW + 2


def test_a_pair_of_surrogates_that_is_cut_is_one_character() -> None:
    assert large_json.joined(iter(["a\ud83d", "\ude00b", "\ud83d", "x", "\ude00", ""])) == "a😀b\ud83dx\ude00"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_object(b'{"a":' * 5000)
