import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.tools.schema import ArgumentCheck, definition_fault, harmless_pattern, schema_fault

LIGHT = {
    "type": "object",
    "properties": {"entity": {"type": "string", "pattern": r"^light\.[a-z_]+$"}, "brightness": {"type": "integer"}},
    "required": ["entity"],
    "additionalProperties": False,
}


def test_valid_arguments_pass():
    assert ArgumentCheck(LIGHT)({"entity": "light.kitchen", "brightness": 3}) is None


def test_messages_let_a_model_correct_its_arguments():
    said = ArgumentCheck(LIGHT)({"brightness": "bright", "colour": 1})
    assert "brightness: 'bright' is not of type 'integer'" in said
    assert "'entity' is a required property" in said
    assert "colour" in said
    assert "does not match" in ArgumentCheck(LIGHT)({"entity": "switch.x"})


def test_nothing_is_coerced():
    assert ArgumentCheck(LIGHT)({"entity": "light.a", "brightness": "3"}) is not None


def test_a_message_is_short_even_if_the_value_is_long():
    assert len(ArgumentCheck(LIGHT)({"entity": "light.a", "brightness": "x" * 100_000})) < 400


@pytest.mark.parametrize("schema", [None, {}, "nonsense", {"properties": {"a": {"type": "strng"}}}])
def test_without_a_schema_everything_passes(schema):
    assert ArgumentCheck(schema)({"a": 1}) is None


def test_local_references_are_followed():
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    assert ArgumentCheck(schema)({"a": "x"}) is not None
    assert ArgumentCheck(schema)({"a": 1}) is None


def test_remote_references_are_never_fetched():
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x.json"}}}
    assert ArgumentCheck(schema)({"a": 1}) is None


def test_an_exponential_schema_is_given_up():
    bomb = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(28)}
    bomb["d28"] = {"type": "integer"}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": bomb}
    assert "too complex" in ArgumentCheck(schema)({"a": 1})


def test_a_schema_that_refers_to_itself_is_given_up():
    assert "too complex" in ArgumentCheck({"$ref": "#", "required": ["a"]})({"a": 1})


def test_backtracking_patterns_are_not_tried():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    assert ArgumentCheck(schema)({"a": "a" * 40 + "!"}) is None


@pytest.mark.parametrize(
    "pattern",
    ["(a|aa)*", "^a*a*a*b", "[ab]*[abc]*d$", "^" + "a?" * 40 + "a" * 40, "^" + "(a|aa)" * 30, "a{1,900}a{1,900}b",
     r"^(a)\1+$", "(?=a*)b", "(", None, "x" * 300]
)  # fmt: skip
def test_costly_patterns_are_recognised(pattern):
    assert not harmless_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", [r"^[a-z]+\.[a-z_]+$", r"^\d{4}-\d\d-\d\d$", "^(on|off)$", "^[0-9a-f]{8}$", "^[a-z]+$", "x"]
)
def test_ordinary_patterns_are_tried(pattern):
    assert harmless_pattern(pattern)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("nonsense", "must be an object"),
        ({"type": "array"}, "type must be object"),
        ({"type": "object", "properties": []}, "properties"),
        ({"type": "object", "properties": {"a": {"type": "strng"}}}, "'strng' is not a type"),
        ({"type": "object", "properties": {"a": 5}}, "'5' is not a schema"),
        ({"type": "object", "required": "a"}, "required"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}, "has no target"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "not a valid regular expression"),
        ({"type": "object", "properties": {"a": {"minimum": "1"}}}, "minimum"),
        ({"type": "object", "anyOf": {}}, "anyOf"),
    ],
)
def test_an_invalid_schema_is_found_at_load(parameters, said):
    fault = definition_fault({"type": "function", "function": {"name": "f", "parameters": parameters}})
    assert said in fault
    assert "f" in fault


def test_a_property_called_like_a_keyword_is_a_property():
    schema = {"type": "object", "properties": {"type": {"type": "string"}, "pattern": {"type": "string"}}}
    assert schema_fault(schema) is None
    assert ArgumentCheck(schema)({"type": "x", "pattern": "("}) is None
    assert ArgumentCheck(schema)({"type": 1}) is not None


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ü", None, "a.b", "a\n"])
def test_a_name_that_no_provider_accepts_is_a_fault(name):
    assert definition_fault({"type": "function", "function": {"name": name}}) is not None


def test_a_deep_schema_is_a_fault():
    schema: dict[str, object] = {"type": "object"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    assert "deeper" in schema_fault(schema)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda c: (
        st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(["type", "properties", "items", "$ref", "a"]), c)
    ),
    max_leaves=12,
)


@given(json_values, st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3))
def test_no_schema_and_no_arguments_raise(schema, arguments):
    definition_fault({"type": "function", "function": {"name": "f", "parameters": schema}})
    said = ArgumentCheck(schema)(arguments)
    assert said is None or isinstance(said, str)
