"""A large body is read in small steps, with the result of `parse_object` and `scan`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.json_text import dumps, loads, with_exact_numbers
from openai_proxy.errors import BadRequest, ProxyError, TooLarge
from openai_proxy.protocols import large_json
from openai_proxy.protocols.json_members import check_unique, parse_object, scan
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
        document = read(body)
        return with_exact_numbers(document, body) if read is parse_object else document
    except ProxyError as error:
        return error.status, error.code


@pytest.fixture(params=[1, 2, 3, 7, 256 * 1024], ids=lambda size: f"window of {size}")
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of a step, which do not change the result. No step may be shorter than an escape."""
    size = max(int(request.param), 6)
    monkeypatch.setattr(large_json, "WINDOW", size)
    return size


@pytest.mark.parametrize("body", ODD, ids=lambda body: body[:24])
def test_odd_documents_are_read_or_refused_alike(window: int, body: bytes) -> None:
    expected = outcome(parse_object, body)
    found = outcome(read_object, body)
    if isinstance(expected, dict):
        assert found == (expected, scan(body))
    else:
        assert found == expected


def test_a_long_name_is_refused() -> None:
    with pytest.raises(TooLarge) as refused:
        read_object(b'{"a":{"%b":1}}' % (b"x" * (large_json.MAX_NAME + 1)))
    assert refused.value.code == "name_too_long"
    assert read_object(b'{"%b":1}' % (b"x" * large_json.MAX_NAME))[0]


TWICE = [
    b'{"a":1,"a":2}', b'{"a":{"b":1,"c":2,"b":1}}', b'{"a":[{},{"x":1,"\\u0078":[]}]}', b'{"a":{"a":{"a":1}}}',
    b'[{"a":1},{"a":1}]', b'{"a":{"":1,"":2}}', b'"a"',
]  # fmt: skip


@pytest.mark.parametrize("body", TWICE)
def test_a_name_that_stands_twice_is_found_alike(window: int, body: bytes) -> None:
    assert outcome(large_json.check_unique, body) == outcome(check_unique, body)


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
def test_any_document_is_read(document: dict[str, Any], ascii_only: bool, indent: int | None, size: int) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    before, large_json.WINDOW = large_json.WINDOW, size  # type: ignore[misc]  # small, so that everything is cut
    try:
        found = outcome(read_object, body)
    finally:
        large_json.WINDOW = before  # type: ignore[misc]
    expected = outcome(parse_object, body)
    assert found == ((expected, scan(body)) if isinstance(expected, dict) else expected)


@given(VALUES | st.text(st.characters(), min_size=20), st.integers(6, 40))
def test_any_value_is_written_in_steps(value: Any, size: int) -> None:
    value = loads(dumps(value))
    before, large_json.WINDOW = large_json.WINDOW, size  # type: ignore[misc]
    try:
        written = dumps(value, large=True)
        assert loads(written) == loads(written, large=True) == value
    finally:
        large_json.WINDOW = before  # type: ignore[misc]


def test_lone_surrogates_and_long_numbers_are_written() -> None:
    value = {"half": "\ud83d" * 9, "number": 2**70, "ä": [[], {}, None, True, 1.5]}
    assert json.loads(dumps(value, large=True)) == value


def test_no_step_of_writing_reads_more_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    def noting(value: Any) -> bytes:
        nonlocal longest
        longest = max(longest, len(value) if isinstance(value, str) else 0)
        return json.dumps(value, ensure_ascii=False).encode()

    monkeypatch.setattr(large_json, "_dumps", noting)
    text = "wörd \n" * 400_000
    assert json.loads(large_json.write({"messages": [{"content": text}]})) == {"messages": [{"content": text}]}
    assert 0 < longest <= large_json.WINDOW


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


def test_too_many_values_are_refused() -> None:
    for unit in (b"1", b"[]", b"{}"):
        body = b'{"a":[' + b",".join([unit] * (large_json.MAX_VALUES + 1)) + b"]}"
        with pytest.raises(TooLarge) as caught:
            read_object(body)
        assert caught.value.code == "too_many_values"


def test_no_step_of_reading_reads_more_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter lock is released between steps: none is longer than a window, however long the string."""
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


def test_a_surrogate_pair_that_is_cut_is_one_character() -> None:
    assert large_json.joined(iter(["a\ud83d", "\ude00b", "\ud83d", "x", "\ude00", ""])) == "a😀b\ud83dx\ude00"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_object(b'{"a":' * 5000)
