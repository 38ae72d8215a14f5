"""Adapts function tools to the JSON Schema that each provider accepts, on a copy.

One bad tool makes a provider refuse the whole request, and MCP servers may change tools at any time. So schemas are
made safe here before they go upstream, while arguments are still checked against the original schema. Pure functions,
no I/O. Rules and the complaints behind them:

* no combinator at the root for OpenAI and Anthropic (https://github.com/langchain-ai/langchain/issues/39271)
* Gemini supports a subset of OpenAPI (https://ai.google.dev/api/caching#Schema;
  https://github.com/promptfoo/promptfoo/issues/6902)
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from openai_proxy.dialects import json_text

Dialect = Literal["openai", "anthropic", "gemini"]

MAX_DEPTH: Final = 24  # maximum nesting of schemas; below, anything is allowed
MAX_NODES: Final = 3000  # maximum schemas in one tool after references are expanded
MAX_DESCRIPTION: Final = 4096
NAME_LENGTH: Final = 64  # names must match `[a-zA-Z0-9_-]{1,64}` everywhere

_ONE: Final = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "additionalItems",
     "unevaluatedItems", "unevaluatedProperties"}
)  # fmt: skip
_MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_NAMED: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})

_MAX_LISTED: Final = 64  # enum values that are listed in a description
_COMBINATORS: Final = ("oneOf", "anyOf", "allOf")
_NOT_AT_ROOT: Final = frozenset(
    {*_COMBINATORS, "not", "enum", "const", "if", "then", "else", "$ref", "dependentSchemas"}
)
_META: Final = frozenset({"$schema", "$id", "$comment", "$anchor", "$dynamicAnchor", "$vocabulary", "id"})

# What Gemini's function declarations support (Schema object of the API).
_GEMINI_KEYS: Final = frozenset(
    {"type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required",
     "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "anyOf", "items", "minimum", "maximum"}
)  # fmt: skip
_GEMINI_FORMATS: Final = {
    "string": frozenset({"enum", "date-time"}),
    "integer": frozenset({"int32", "int64"}),
    "number": frozenset({"float", "double"}),
}


def tool_for(definition: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """A copy of the function tool `definition` with the same name and a schema that the dialect accepts.

    `strict` is kept only if the schema is unchanged, because it promises conformance to the original.
    """
    function = dict(definition.get("function") or {})
    original = function.get("parameters")
    parameters, note = schema_for(original, dialect)
    description = str(function.get("description") or "")
    if note:
        description = f"{description}\n{note}".strip()
    cleaned: dict[str, Any] = {"name": function.get("name"), "parameters": parameters}
    if description:
        cleaned["description"] = description[:MAX_DESCRIPTION]
    if "strict" in function and parameters == original:
        cleaned["strict"] = function["strict"]
    return {"type": "function", "function": cleaned}


def fit_tools(tools: list[Any], dialect: str) -> list[Any] | None:
    """A request's `tools` with schemas that `dialect` accepts; None if they need no change.

    Tools that are not functions with a schema stay as they are.
    """
    known: Dialect = "gemini" if dialect == "gemini" else "anthropic" if dialect == "anthropic" else "openai"
    fitted = [_fitted(tool, known) for tool in tools]
    return fitted if fitted != tools else None


def _fitted(tool: Any, dialect: Dialect) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("parameters"), dict):
        return tool
    fitting = tool_for(tool, dialect)["function"]
    if fitting["parameters"] == function["parameters"]:
        return tool
    kept = {name: value for name, value in function.items() if name != "strict"}
    return {**tool, "function": {**kept, **fitting}}


def schema_for(schema: object, dialect: Dialect) -> tuple[dict[str, Any], str]:
    """(a copy of the root `schema` that the dialect accepts, a sentence on what it no longer expresses or "")."""
    root: dict[str, Any] = dict(schema) if isinstance(schema, Mapping) else {}
    if dialect == "openai" and _plain(root):
        return {key: value for key, value in root.items() if key not in ("$schema", "$id")}, ""
    result = written_out(root, gemini=dialect == "gemini")
    note = _fold_root(result)
    result["type"] = "object"
    if not isinstance(result.get("properties"), dict):
        result["properties"] = {}
    if dialect == "gemini" and not result["properties"]:
        del result["properties"]  # Gemini refuses an object with an empty map of properties
    _repair_required(result)
    if dialect == "openai":
        for keyword in ("enum", "not", "const"):
            result.pop(keyword, None)
    return result, note


def written_out(root: Mapping[str, Any], *, gemini: bool = False) -> dict[str, Any]:
    """A copy of `root` with every local reference replaced by its target."""
    copied = _Copier(root, gemini=gemini).schema(root, 0, ())
    return copied if isinstance(copied, dict) else {}


def _plain(root: Mapping[str, Any]) -> bool:
    """True if OpenAI and compatible servers accept `root` unchanged, so that it is sent verbatim."""
    if root.get("type") != "object" or not isinstance(root.get("properties"), Mapping) or root.keys() & _NOT_AT_ROOT:
        return False
    pending: list[tuple[Any, int]] = [(root, 0)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            return False
        if isinstance(node, bool):
            continue
        if not isinstance(node, Mapping) or not isinstance(node.get("required", []), list):
            return False
        if "$ref" in node and not isinstance(resolve_local(root, node["$ref"]), Mapping):
            return False
        pending.extend((child, depth + 1) for child in subschemas(node))
    return True


def subschemas(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas directly inside `schema`, only where JSON Schema expects a schema (not inside enum, default …)."""
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            yield from value.values()
        elif key in _MANY and isinstance(value, list):
            yield from value
        elif key in _ONE and isinstance(value, Mapping):
            yield value


def resolve_local(root: Mapping[str, Any], reference: object) -> Any:
    """The target of the local JSON pointer `reference` ("#/$defs/x") in `root`; None if missing or not local."""
    if reference == "#":
        return root
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    node: Any = root
    for part in reference[2:].split("/")[:64]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


class _Copier:
    """Copies one tool's schema with references expanded, within MAX_DEPTH and MAX_NODES."""

    def __init__(self, root: Mapping[str, Any], *, gemini: bool) -> None:
        self._root = root
        self._gemini = gemini
        self._nodes = 0

    def schema(self, schema: Any, depth: int, open_refs: tuple[str, ...]) -> Any:
        """`schema` copied; parts that are too deep, too many or recursive allow anything."""
        self._nodes += 1
        if isinstance(schema, bool):
            return {} if self._gemini else schema
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self._nodes > MAX_NODES:
            return {"type": "string"} if self._gemini and depth else {}
        if "$ref" in schema:
            return self._reference(schema, depth, open_refs)
        copied: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _META or key in ("$defs", "definitions", "$dynamicRef") or not isinstance(key, str):
                continue
            if key in _NAMED and isinstance(value, Mapping):
                copied[key] = {str(k): self.schema(v, depth + 1, open_refs) for k, v in value.items()}
            elif key in _MANY and isinstance(value, list):
                copied[key] = [self.schema(v, depth + 1, open_refs) for v in value]
            elif key in _ONE and isinstance(value, Mapping):
                copied[key] = self.schema(value, depth + 1, open_refs)
            else:
                copied[key] = value
        _repair_required(copied)
        return _gemini(copied) if self._gemini else copied

    def _reference(self, schema: Mapping[str, Any], depth: int, open_refs: tuple[str, ...]) -> Any:
        reference = str(schema["$ref"])
        target = None if reference in open_refs else resolve_local(self._root, reference)
        beside = {k: v for k, v in schema.items() if k != "$ref"}
        if not isinstance(target, Mapping):
            kept = {"description": beside["description"]} if "description" in beside else {}
            return {"type": "object", **kept} if self._gemini else kept
        return self.schema({**target, **beside}, depth + 1, (*open_refs, reference))


def _repair_required(schema: dict[str, Any]) -> None:
    """`required` as a list of property names, or omitted (draft 3 had a boolean there)."""
    required = schema.get("required")
    if required is None and "required" not in schema:
        return
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    names = [n for n in required if isinstance(n, str) and n in known] if isinstance(required, list) else []
    if names:
        schema["required"] = list(dict.fromkeys(names))
    else:
        del schema["required"]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _fold_root(schema: dict[str, Any]) -> str:
    """Remove combinators from the root, moving their branches' properties up. Returns a sentence on what was lost."""
    found = [c for c in _COMBINATORS if isinstance(schema.get(c), list)]
    lost = [k for k in ("if", "then", "else", "dependentSchemas") if k in schema]
    for keyword in lost:
        del schema[keyword]
    if not found:
        return ""
    properties: dict[str, Any] = dict(_mapping(schema.get("properties")))
    required: list[str] = list(schema.get("required") or [])
    alternatives: list[str] = []
    for combinator in found:
        for branch in schema.pop(combinator):
            if not isinstance(branch, dict):
                continue
            for name, value in _mapping(branch.get("properties")).items():
                properties.setdefault(name, value)
            names = [n for n in branch.get("required") or [] if isinstance(n, str)]
            if combinator == "allOf":
                required += names
            elif names:
                alternatives.append(", ".join(names))
    schema["properties"] = properties
    schema["required"] = required
    return f"Needs one of these sets of arguments: {' | '.join(alternatives[:8])}." if alternatives else ""


def _gemini(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` in Gemini's subset of OpenAPI 3."""
    kinds = schema.get("type")
    if isinstance(kinds, list):
        real = [k for k in kinds if k != "null"]
        if "null" in kinds:
            schema["nullable"] = True
        schema["type"] = real[0] if real else "string"
    if "const" in schema:
        schema["enum"] = [schema["const"]]
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(bound := schema.get(exclusive), int | float) and not isinstance(bound, bool):
            schema.setdefault(inclusive, bound)
    if isinstance(schema.get("oneOf"), list) and "anyOf" not in schema:
        schema["anyOf"] = schema["oneOf"]
    if isinstance(branches := schema.pop("allOf", None), list):
        for branch in branches:
            if isinstance(branch, dict):
                _merge(schema, branch)
    if isinstance(branches := schema.get("anyOf"), list):
        _nullable_union(schema, branches)
    if isinstance(values := schema.get("enum"), list):
        _string_enum(schema, values)
    allowed = _GEMINI_FORMATS.get(str(schema.get("type")), frozenset())
    if schema.get("format") not in allowed:
        schema.pop("format", None)
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        schema["items"] = {"type": "string"}  # required there
    if schema.get("type") == "object" and schema.get("properties") == {}:
        del schema["properties"]
    return {key: value for key, value in schema.items() if key in _GEMINI_KEYS}


def _string_enum(schema: dict[str, Any], values: list[Any]) -> None:
    """Describe enum values other than strings in words: Gemini only has enums of strings, and would return strings."""
    del schema["enum"]
    texts = [value for value in values if isinstance(value, str) and value]
    if texts and schema.get("type", "string") == "string":
        schema["enum"] = texts
        schema["type"] = "string"
        return
    listed = ", ".join(json_text.text(value) for value in values[:_MAX_LISTED] if value is not None)
    if listed:
        schema["description"] = f"{schema.get('description') or ''} One of: {listed}.".strip()


def _merge(schema: dict[str, Any], branch: dict[str, Any]) -> None:
    for key, value in branch.items():
        if key == "properties" and isinstance(value, dict):
            schema["properties"] = {**value, **_mapping(schema.get("properties"))}
        elif key == "required" and isinstance(value, list):
            schema["required"] = list(dict.fromkeys([*(schema.get("required") or []), *value]))
        else:
            schema.setdefault(key, value)


def _nullable_union(schema: dict[str, Any], branches: list[Any]) -> None:
    """anyOf [X, null] as a nullable X: how every Python server writes Optional[X]."""
    real = [b for b in branches if isinstance(b, dict) and b.get("type") != "null"]
    if len(real) < len(branches):
        schema["nullable"] = True
    if len(real) == 1:
        del schema["anyOf"]
        _merge(schema, real[0])
    elif real:
        schema["anyOf"] = real
    else:
        del schema["anyOf"]
