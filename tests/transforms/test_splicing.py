"""Changes deep inside a JSON body: the result of `json`, with every other byte unchanged."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.transforms.splicing import Path, splice

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def paths(value: Any, here: Path = ()) -> list[Path]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, child in children for path in [(*here, key), *paths(child, (*here, key))]]


def put(value: Any, path: Path, new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.data(), st.sampled_from([None, 1]), st.booleans())
def test_a_value_is_replaced_as_by_json(
    value: dict[str, Any], data: st.DataObject, indent: int | None, ascii_only: bool
) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    every = paths(value)
    if not every:
        assert splice(body, {("x",): b"1"}) == body
        return
    path = data.draw(st.sampled_from(every))
    assert splice(body, {path: b'"new \\u00e9"'}) == splice(body, {path: b'"new \\u00e9"'})
    put(value, path, "new é")
    assert json.loads(splice(body, {path: b'"new \\u00e9"'})) == value


@given(st.lists(VALUES, min_size=1, max_size=6), st.sets(st.integers(0, 5)), st.sampled_from([None, 1]))
def test_elements_are_removed_as_by_json(items: list[Any], gone: set[int], indent: int | None) -> None:
    body = json.dumps({"a": 1, "list": items, "z": [2]}, indent=indent).encode()
    left = json.loads(splice(body, {}, {("list", index) for index in gone}))
    assert left == {"a": 1, "list": [item for index, item in enumerate(items) if index not in gone], "z": [2]}


def test_other_bytes_are_unchanged() -> None:
    body = b'{ "a" : [ "x" ,\t"\\u0041" , {"t" : "y\\/"} ] , "n" : 1.50e3 }'
    assert splice(body, {("a", 2, "t"): b'"z"'}) == body.replace(b'"y\\/"', b'"z"')
    assert splice(body, {}, {("a", 0)}) == b'{ "a" : [\t"\\u0041" , {"t" : "y\\/"} ] , "n" : 1.50e3 }'
    assert splice(body, {}, {("a", 2)}) == b'{ "a" : [ "x" ,\t"\\u0041" ] , "n" : 1.50e3 }'
    assert splice(body, {("b",): b"1", ("a", 9): b"1"}) == body


def test_duplicate_members_are_both_changed() -> None:
    assert splice(b'{"m":[{"c":"a","c":"b"}]}', {("m", 0, "c"): b'"n"'}) == b'{"m":[{"c":"n","c":"n"}]}'


def test_lone_surrogates_are_no_obstacle() -> None:
    body = b'{"\\ud800":"\\udc00","a":"x"}'
    assert splice(body, {("a",): b'"y"'}) == b'{"\\ud800":"\\udc00","a":"y"}'
