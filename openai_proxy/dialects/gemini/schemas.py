"""Gemini's Schema objects, a variant of OpenAPI's, as JSON schemas. https://ai.google.dev/api/caching#Schema"""

from typing import Any, Final

from openai_proxy.dialects.gemini.fields import camel

_COUNTS: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_LEFT_OUT: Final = frozenset({"propertyOrdering", "nullable", "example"})


def to_json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema equivalent to a Schema object: types in lower case, counts as numbers, null as a type."""
    if not isinstance(schema, dict):
        return {}
    made: dict[str, Any] = {}
    for key, value in schema.items():
        name = camel(key) if not key.startswith("$") else key
        if name in _LEFT_OUT:
            continue
        if name == "type" and isinstance(value, str):
            made[name] = value.lower()
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            made[name] = int(value)  # 64-bit numbers are sent as text
        elif name == "properties" and isinstance(value, dict):
            made[name] = {key: to_json_schema(inner) for key, inner in value.items()}
        elif name == "items" or (name == "additionalProperties" and isinstance(value, dict)):
            made[name] = to_json_schema(value)
        elif name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
            made[name] = [to_json_schema(inner) for inner in value]
        elif name != "type" or value is not None:
            made[name] = value
    if made.get("type") == "type_unspecified":
        del made["type"]
    if schema.get("nullable") is True:
        return _nullable(made)
    return made


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    if isinstance(schema.get("anyOf"), list):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema
