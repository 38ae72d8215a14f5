"""What `params` changes in a request, and what it leaves alone."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.config.connection import ParamsConfig
from openai_proxy.protocols.json_members import edit
from openai_proxy.transforms.params import NONE, shape

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def shaped(members: dict[str, Any], *places: dict[str, Any]) -> dict[str, Any]:
    """The parameters (without model and messages) after the rules of `places`, the most specific last."""
    rules = NONE
    for place in places:
        rules = rules.refined(ParamsConfig(**place))
    result = shape({**CHAT, **members}, rules).applied({**CHAT, **members})
    return {name: value for name, value in result.items() if name not in CHAT}


@pytest.mark.parametrize(
    ("members", "rules", "result"),
    [
        ({}, {"default": {"temperature": 0.3}}, {"temperature": 0.3}),
        ({"temperature": 1}, {"default": {"temperature": 0.3}}, {"temperature": 1}),
        ({"temperature": None}, {"default": {"temperature": 0.3}}, {"temperature": None}),
        ({"temperature": 1}, {"override": {"temperature": 0.3}}, {"temperature": 0.3}),
        ({"temperature": 1, "seed": 7}, {"drop": ["temperature"]}, {"seed": 7}),
        ({"temperature": 1}, {"drop": ["temperature"], "default": {"temperature": 0.3}}, {"temperature": 0.3}),
        ({"temperature": 1}, {"default": {"temperature": 2}, "override": {"temperature": 3}}, {"temperature": 3}),
        ({}, {"default": {"a.b.c": 1}}, {"a": {"b": {"c": 1}}}),
        ({"a": {"b": {"d": 2}}}, {"default": {"a.b.c": 1}}, {"a": {"b": {"d": 2, "c": 1}}}),
        ({"a": {"b": 5}}, {"default": {"a.b.c": 1}}, {"a": {"b": 5}}),
        ({"a": {"b": 5}}, {"override": {"a.b.c": 1}}, {"a": {"b": {"c": 1}}}),
        ({"a": {"b": 5, "c": 6}}, {"drop": ["a.b", "a.x.y", "z.z"]}, {"a": {"c": 6}}),
        ({"a": 1}, {"override": {"a": True}}, {"a": True}),
        ({"a": 1, "b": 2}, {"rename": {"a": "c"}}, {"b": 2, "c": 1}),
        ({"a": 1, "c": 3}, {"rename": {"a": "c"}}, {"c": 3}),
        ({}, {"default": {"a": 1}, "rename": {"a": "c", "x": "y"}}, {"c": 1}),
        ({"a": {"b": 1}}, {"rename": {"a.b": "a.c"}}, {"a": {"c": 1}}),
        ({"a": 1}, {"rename": {"a": "messages", "model": "b"}}, {"a": 1}),
        ({}, {"drop": ["messages", "model", "stream"], "override": {"model": "x", "stream": True}}, {}),
    ],
)
def test_first_drop_then_default_then_override_then_rename(
    members: dict[str, Any], rules: dict[str, Any], result: dict[str, Any]
) -> None:
    assert shaped(members, rules) == result
    assert repr(shaped(members, rules)) == repr(result)  # True is not 1


def test_more_specific_rules_refine_general_ones() -> None:
    ours = {"default": {"temperature": 0.1, "seed": 1}, "drop": ["user"]}
    connection = {"default": {"temperature": 0.2}, "override": {"top_p": 0.5}, "drop": ["seed"]}
    model = {"default": {"temperature": 0.3}, "override": {"top_p": 0.9}}
    asked = {"user": "me", "seed": 9}
    assert shaped(asked, ours, connection, model) == {"temperature": 0.3, "seed": 1, "top_p": 0.9}
    assert shaped(asked, ours) == {"temperature": 0.1, "seed": 9}


def test_only_chat_requests_are_changed() -> None:
    rules = NONE.refined(ParamsConfig(override={"temperature": 0}))
    assert not shape({"model": "m", "input": "text"}, rules)


def test_nothing_changes_without_need() -> None:
    rules = NONE.refined(ParamsConfig(default={"a.b": 1}, override={"c": [1]}, drop=("d",)))
    assert not shape({**CHAT, "a": {"b": 2}, "c": [1]}, rules)
    assert not NONE
    assert NONE.refined(ParamsConfig()) is NONE


def test_untouched_members_keep_their_bytes() -> None:
    body = b'{ "model":"m",\n "messages":[ ],"big":12345678901234567890123, "f":1.00,"a":{"x": 1,"y":2}, "user":"u"}'
    rules = NONE.refined(ParamsConfig(default={"seed": 3}, override={"a.x": 5}, drop=("user",)))
    changes = shape(orjson.loads(body), rules)
    after = edit(body, changes.as_json(), changes.remove)
    assert b'{ "model":"m",\n "messages":[ ],"big":12345678901234567890123, "f":1.00,"a":' in after
    assert orjson.loads(after)["a"] == {"x": 5, "y": 2}
    assert b"user" not in after
    assert orjson.loads(after)["seed"] == 3


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)
documents = st.dictionaries(st.sampled_from("abc"), values)


@given(
    documents, st.dictionaries(names, values, max_size=3), st.dictionaries(names, values, max_size=3), st.lists(names)
)
def test_the_document_itself_is_never_changed(
    document: dict[str, Any], default: dict[str, Any], override: dict[str, Any], drop: list[str]
) -> None:
    document = {**CHAT, **document}
    before = orjson.dumps(document)
    rules = NONE.refined(ParamsConfig(default=default, override=override, drop=tuple(drop)))
    changes = shape(document, rules)
    assert orjson.dumps(document) == before
    edited = edit(before, changes.as_json(), changes.remove)
    assert orjson.loads(edited) == changes.applied(document)
    for name, value in override.items():  # the last override of a path holds
        if not any(other != name and (other + ".").startswith(name + ".") for other in override) and not any(
            other != name and (name + ".").startswith(other + ".") for other in override
        ):
            found: Any = orjson.loads(edited)
            for step in name.split("."):
                found = found[step]
            assert found == value
