import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.tool_schema import schema_for, tool_for

DIALECTS = ("openai", "anthropic", "gemini")


ODD = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.org/x",
    "type": "object",
    "properties": {
        "light": {"$ref": "#/$defs/light", "description": "which"},
        "level": {"type": "integer", "exclusiveMinimum": 0, "format": "uint8"},
        "mode": {"const": "on"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array"},
        "when": {"type": ["string", "null"], "format": "date-time"},
        "number": {"enum": [1, 2]},
        "tree": {"$ref": "#/$defs/tree"},
        "far": {"$ref": "https://example.org/far.json"},
    },
    "required": ["light", "nobody"],
    "additionalProperties": False,
    "$defs": {
        "light": {"type": "string", "pattern": "^light"},
        "tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/tree"}}},
    },
}


def keys(schema, found=None):
    found = set() if found is None else found
    if isinstance(schema, dict):
        for key, value in schema.items():
            found.add(key)
            keys(value, found)
    elif isinstance(schema, list):
        for item in schema:
            keys(item, found)
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_original_is_never_changed_and_references_are_expanded(dialect):
    before = copy.deepcopy(ODD)
    result, _ = schema_for(ODD, dialect)
    assert before == ODD
    assert not keys(result) & {"$ref", "$defs", "$schema", "$id"}
    assert result["properties"]["light"]["type"] == "string"
    assert result["properties"]["light"]["description"] == "which"
    assert result["required"] == ["light"]


def test_openai_gets_acceptable_schemas_verbatim():
    schema = {k: v for k, v in ODD.items() if k not in ("$schema", "$id")}
    schema["properties"] = {k: v for k, v in schema["properties"].items() if k != "far"}
    assert schema_for(schema, "openai") == (schema, "")
    definition = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    assert tool_for(definition, "openai") == definition


def test_gemini_gets_its_subset():
    result, _ = schema_for(ODD, "gemini")
    assert not keys(result) & {"additionalProperties", "exclusiveMinimum", "const", "oneOf", "allOf"}
    properties = result["properties"]
    assert properties["level"] == {"type": "integer", "minimum": 0}
    assert properties["mode"] == {"type": "string", "enum": ["on"]}
    assert properties["maybe"] == {"type": "string", "nullable": True}
    assert properties["tags"]["items"]
    assert properties["when"] == {"type": "string", "nullable": True, "format": "date-time"}
    assert properties["number"] == {"description": "One of: 1, 2."}  # as strings they would be returned as strings


def test_gemini_gets_no_empty_map_of_properties():
    assert schema_for({"type": "object", "properties": {}}, "gemini")[0] == {"type": "object"}


@pytest.mark.parametrize("combinator", ["oneOf", "anyOf", "allOf"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_combinator_stays_at_the_root(combinator, dialect):
    definition = {
        "type": "function",
        "function": {
            "name": "f",
            "description": "Does.",
            "strict": True,
            "parameters": {
                combinator: [
                    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]},
                ]
            },
        },
    }
    function = tool_for(definition, dialect)["function"]
    assert combinator not in function["parameters"]
    assert set(function["parameters"]["properties"]) == {"a", "b"}
    assert "strict" not in function
    assert function["description"].startswith("Does.")
    assert ("one of" in function["description"]) == (
        combinator != "allOf" and dialect != "gemini"
    ) or dialect == "gemini"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "schema",
    [
        None,
        3,
        [],
        {},
        {"type": "string"},
        {"properties": None},
        {"required": True},
        {"anyOf": [{"properties": [1], "required": 3}]},
        {"properties": [1], "allOf": [{"properties": {"a": {}}}]},
    ],
)
def test_invalid_schemas_become_an_object(dialect, schema):
    assert schema_for(schema, dialect)[0]["type"] == "object"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_exponentially_expanding_schemas_stay_small(dialect):
    bomb = {
        f"d{i}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/d{i + 1}"} for k in "ab"}} for i in range(28)
    }
    bomb["d28"] = {"type": "string"}
    result, _ = schema_for({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": bomb}, dialect)
    assert len(repr(result)) < 1_000_000


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda c: (
        st.lists(c, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "$ref", "anyOf", "allOf", "oneOf", "required", "enum", "const", "a"]
            ),
            c,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(trees, st.sampled_from(DIALECTS))
def test_no_schema_raises_an_exception(schema, dialect):
    result, note = schema_for(schema, dialect)
    assert result["type"] == "object"
    assert isinstance(note, str)
