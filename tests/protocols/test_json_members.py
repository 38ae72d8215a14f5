"""Top-level members of a JSON body: read as every provider reads them, edited without touching any other byte."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.errors import BadRequest
from openai_proxy.protocols.json_members import CONTROL, edit, parse_object, scan

NAMES = st.sampled_from([*sorted(CONTROL), "temperature", "x", "", 'quo"te', "back\\slash", "né", "a,b:{}[]"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", '\\"', "},{", '":']
)
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)
SPACES = st.sampled_from(["", " ", "\n  ", "\t", "\r\n"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """An object and one of the ways to write it."""
    value = draw(OBJECTS)
    ascii_only = draw(st.booleans())
    members = [
        f"{draw(SPACES)}{json.dumps(name, ensure_ascii=ascii_only)}{draw(SPACES)}:{draw(SPACES)}"
        f"{json.dumps(item, ensure_ascii=ascii_only)}{draw(SPACES)}"
        for name, item in value.items()
    ]
    inside = ",".join(members) if members else draw(SPACES)
    return value, f"{draw(SPACES)}{{{inside}}}{draw(SPACES)}".encode()


@given(bodies())
def test_scan_sees_what_a_parser_sees(written: tuple[dict[str, Any], bytes]) -> None:
    value, body = written
    members = scan(body)
    assert [member.name for member in members] == list(value)
    for member in members:
        assert orjson.loads(body[member.value_start : member.value_end]) == value[member.name]
        assert body[member.key_start : member.value_start].startswith(b'"')
        assert body[member.value_start : member.value_end].strip() == body[member.value_start : member.value_end]


@given(bodies())
def test_parse_reads_every_body(written: tuple[dict[str, Any], bytes]) -> None:
    assert parse_object(written[1]) == written[0]


@given(bodies(), st.dictionaries(NAMES, VALUES, max_size=4), st.lists(NAMES, max_size=3))
def test_an_edit_is_a_dict_update(
    written: tuple[dict[str, Any], bytes], replace: dict[str, Any], remove: list[str]
) -> None:
    value, body = written
    remove = [name for name in remove if name not in replace]
    edited = edit(body, {name: orjson.dumps(item) for name, item in replace.items()}, remove)
    expected = {name: item for name, item in (value | replace).items() if name not in remove}
    assert orjson.loads(edited) == expected
    assert [member.name for member in scan(edited)] == list(expected), (
        "old members must keep their order, and new ones must follow them"
    )


@given(bodies(), st.data())
def test_an_edit_touches_only_the_members_it_names(written: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    value, body = written
    touched = set(data.draw(st.lists(st.sampled_from(sorted(value)), max_size=2))) if value else set()
    gone = set(data.draw(st.lists(st.sampled_from(sorted(touched)), max_size=1))) if touched else set()
    edited = edit(body, dict.fromkeys(touched - gone, b"null"), gone)

    def raw(text: bytes) -> dict[str, bytes]:
        return {m.name: text[m.key_start : m.value_end] for m in scan(text) if m.name not in touched}

    assert raw(edited) == raw(body)
    if not touched:
        assert edited == body
    if touched and not gone:  # only the values differ: with the old ones put back, every byte is as before
        back = {m.name: body[m.value_start : m.value_end] for m in scan(body) if m.name in touched}
        assert edit(edited, back) == body


def test_whitespace_between_members_stays() -> None:
    body = b'{ "model" : "a" ,\n  "n": 1,\n  "x":[1, 2]\n}\n'
    assert edit(body, {"model": b'"b"'}) == b'{ "model" : "b" ,\n  "n": 1,\n  "x":[1, 2]\n}\n'
    assert edit(body, {}, ["n"]) == b'{ "model" : "a" ,\n  "x":[1, 2]\n}\n'
    assert edit(body, {}, ["model"]) == b'{\n  "n": 1,\n  "x":[1, 2]\n}\n'
    assert edit(body, {}, ["x"]) == b'{ "model" : "a" ,\n  "n": 1\n}\n'
    assert edit(b'{"a":1 , "n":2 , "b":3 ,"c":4 }', {}, ["n"]) == b'{"a":1 , "b":3 ,"c":4 }'
    assert edit(b'{"a":1 ,\t"n":2 }', {"u": b"5"}, ["n"]) == b'{"a":1,"u":5 }'
    assert edit(body, {}, ["model", "n", "x"]) == b"{\n}\n"
    assert edit(b" { } ", {"n": b"1", "user": b'"u"'}) == b' {"n":1,"user":"u" } '
    assert edit(body, {"n": b"2"}, ["n"]) == b'{ "model" : "a" ,\n  "x":[1, 2],"n":2\n}\n'


def test_members_inside_other_members_are_not_touched() -> None:
    body = b'{"messages":[{"model":"inner"}],"model":"outer"}'
    assert edit(body, {"model": b'"new"'}) == b'{"messages":[{"model":"inner"}],"model":"new"}'
    assert parse_object(body)["model"] == "outer", "the same name in a nested object is no duplicate"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","x":{},"model":"a"}',
        b'{"model":"a","\\u006dodel":"b"}',
        b'{"\\u006dodel":"a","mode\\u006c":"b"}',
        b'{"Model":"a"}',
        b'{"model":"a","MODEL":"b"}',
        b'{"model":"a","\\u004dodel":"b"}',
        b'{"stream":false,"Stream":true}',
        '{"messages":[],"me\u017f\u017fages":[]}'.encode(),  # Go's encoding/json folds U+017F to "s"
        b'{"me\\u017fsages":[]}',
        '{"tool\u017f":[]}'.encode(),
    ],
)
def test_ambiguous_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="more than once") as refused:
        parse_object(body)
    assert refused.value.code == "invalid_json"


@pytest.mark.parametrize("depth", [1, 253, 254, 255, 256, 500, 1000])
def test_deeply_nested_bodies_are_read(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    assert parse_object(b'{"model":"m","x":' + deep + b"}")["model"] == "m"
    with pytest.raises(BadRequest):
        parse_object(b'{"model":"m","x":' + deep + b',"model":"n"}')


@pytest.mark.parametrize("body", [b'{"x":1,"x":2}', b'{"Temperature":1,"temperature":2}', b'{"t\xc3\xa9":1}'])
def test_duplicate_names_that_we_do_not_read_are_left_to_the_provider(body: bytes) -> None:
    assert parse_object(body) == orjson.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b'"x"', b"1", b"null", b"{", b'{"a":1}x', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}',
        b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'\xef\xbb\xbf{"a":1}', b"{'a':1}", b'{"a":1,}',
        b'{"a":' + b"[" * 200_000, b'{"a":' + b"1" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_bodies_that_are_not_json_objects_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_object(body)
    assert refused.value.code == "invalid_json"


@pytest.mark.parametrize("body", [b'{"a":"\\ud800","model":"m"}', b'{"a":123456789012345678901234567890,"model":"m"}'])
def test_valid_json_that_orjson_rejects_is_left_to_the_provider(body: bytes) -> None:
    assert parse_object(body)["model"] == "m"
    assert edit(body, {"model": b'"n"'}) == body.replace(b'"m"', b'"n"')
