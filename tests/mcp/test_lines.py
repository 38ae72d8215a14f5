"""A server's stdout, split into lines and parsed leniently."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.tools.mcp.lines import LineSplitter, Oversized, parse


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=10), st.data())
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter, out = LineSplitter(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        out += splitter.feed(stream[:cut])
        stream = stream[cut:]
    assert out == lines
    assert splitter.flush() == []


def test_the_rest_without_a_newline_is_a_line_at_the_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"a\nrest") == [b"a"]
    assert splitter.pending == 4
    assert splitter.flush() == [b"rest"]


@given(st.integers(1, 50), st.integers(200, 20_000), st.booleans())
def test_a_line_beyond_the_cap_is_dropped_but_its_id_is_known(step: int, size: int, id_first: bool) -> None:
    result = json.dumps({"content": "x" * size})
    line = f'{{"jsonrpc":"2.0","id":7,"result":{result}}}' if id_first else f'{{"result":{result},"id":7}}'
    stream = f"{line}\n{{}}\n".encode()
    splitter, out = LineSplitter(cap=100), []
    for start in range(0, len(stream), step * 97):
        out += splitter.feed(stream[start : start + step * 97])
    big, small = out
    assert isinstance(big, Oversized)
    assert big.size == len(line)
    assert big.answers() == 7
    assert small == b"{}"


@pytest.mark.parametrize(
    "line", [b'{"x": "' + b"y" * 200 + b'"}', b'{"method":"m","params":{"id":3},"x":"' + b"y" * 200]
)
def test_a_dropped_line_that_answers_nothing_has_no_id(line: bytes) -> None:
    (dropped,) = LineSplitter(cap=100).feed(line + b"\n")
    assert isinstance(dropped, Oversized)
    assert dropped.answers() is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": NaN, "b": Infinity}', {"a": None, "b": None}),
        (b'{"a": "x\xff"}', {"a": "x\ufffd"}),
        (rb'{"a": "\ud83d\ude00 \ud83d"}', {"a": "\U0001f600 \ufffd"}),
        (b"17", 17),
    ],
)
def test_lenient_json_is_read(line: bytes, value: object) -> None:
    assert parse(line) == value


@pytest.mark.parametrize("line", [b"Welcome!", b"{not json", b"", b"[" * 100_000])
def test_invalid_json_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|nested"):
        parse(line)


@given(st.binary(max_size=200))
def test_no_line_raises_anything_else(line: bytes) -> None:
    try:
        parse(line)
    except ValueError:
        return
