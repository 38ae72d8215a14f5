"""Schemas for answers: the `response_format` of a chat request.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from typing import Any


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` for a JSON schema: strict if the schema meets OpenAI's rules for that."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": is_strict(schema)}}


def is_strict(schema: Any, *, root: bool = True) -> bool:
    """Whether every object in `schema` is closed and requires all its members, as OpenAI's strict mode demands."""
    if isinstance(schema, list):
        return all(is_strict(entry, root=False) for entry in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        named = properties if isinstance(properties, dict) else {}
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != named.keys():
            return False
    elif root:
        return False
    members = [value for key, value in schema.items() if key in ("items", "anyOf", "allOf", "oneOf", "prefixItems")]
    for key in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            members += schema[key].values()
    return all(is_strict(member, root=False) for member in members)
