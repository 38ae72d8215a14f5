"""Validates tool definitions and arguments, both bounded, because both come from outside.

A schema may come from a malicious server, and arguments from a manipulated model. The three ways to burn CPU with JSON
Schema are closed: regular expressions that backtrack, references that multiply (`a: allOf [b, b], b: allOf [c, c] …`),
and quadratic `uniqueItems`. No reference ever leaves the schema.
"""

import contextvars
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from openai_proxy.dialects.tool_schema import NAME_LENGTH, resolve_local, subschemas

log = logging.getLogger(__name__)

MAX_NODES: Final = 5000  # schemas in one definition
MAX_DEPTH: Final = 32
MAX_STEPS: Final = 20_000  # keyword applications in one check: 150 ms at worst, where a usual call takes 10 of them
MAX_ERRORS: Final = 5
MAX_MESSAGE: Final = 200
MAX_PATTERN: Final = 200
MAX_PATTERN_COST: Final = 6.5  # maximum steps as a power of ten: 3 million, 60 ms
MAX_PATTERN_SUBJECT: Final = 500  # characters that a pattern is applied to; the tool itself must check longer strings

_NAME: Final = re.compile(rf"[a-zA-Z0-9_-]{{1,{NAME_LENGTH}}}\Z")
_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_NUMBERS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_COUNTS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_MAPS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf"})
_QUANTIFIED_GROUP: Final = re.compile(r"\)[*+{?]")
_REPEAT: Final = re.compile(r"(?<!\\)[*+]|\{\d*,\d*\}")
_OPTIONAL: Final = re.compile(r"(?<!\\)\?")


def definition_fault(definition: object) -> str | None:
    """What is wrong with a function tool, or None. Needs no library, so loading definitions is cheap."""
    if not isinstance(definition, Mapping) or definition.get("type") != "function":
        return "a tool definition must be {type: function, function: {name, description, parameters}}"
    function = definition.get("function")
    if not isinstance(function, Mapping):
        return "the tool definition has no function: {name, description, parameters}"
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        return f"a tool's name must be 1 to {NAME_LENGTH} letters, digits, _ and -, not {str(name)[:80]!r}"
    if not isinstance(function.get("description", ""), str | None):
        return f"the description of {name} must be text"
    if (parameters := function.get("parameters")) is None:
        return None
    fault = schema_fault(parameters)
    return f"the parameters of {name} are not a valid JSON Schema: {fault}" if fault is not None else None


def schema_fault(schema: object) -> str | None:
    """Why `schema` is not a JSON Schema for arguments, or None."""
    if not isinstance(schema, Mapping):
        return "they must be an object"
    if schema.get("type", "object") != "object":
        return f"their type must be object, not {str(schema.get('type'))[:40]!r}"
    pending: list[tuple[Any, int]] = [(schema, 0)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if count > MAX_NODES:
            return f"more than {MAX_NODES} parts"
        if depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
        if isinstance(node, bool):
            continue
        if not isinstance(node, Mapping):
            return f"{str(node)[:40]!r} is not a schema"
        for key, value in node.items():
            if (fault := _keyword_fault(key, value)) is not None:
                return fault
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/") and resolve_local(schema, reference) is None:
            return f"the reference {reference[:80]!r} has no target"
        pending.extend((child, depth + 1) for child in subschemas(node))
    return None


def _keyword_fault(key: object, value: Any) -> str | None:
    """What is wrong with one keyword's value (https://json-schema.org/draft/2020-12/json-schema-validation)."""
    if key == "type":
        kinds = value if isinstance(value, list) else [value]
        bad = [k for k in kinds if not isinstance(k, str) or k not in _TYPES]
        return f"{str(bad[0])[:40]!r} is not a type ({', '.join(sorted(_TYPES))})" if bad or not kinds else None
    if key in _MAPS and not isinstance(value, Mapping):
        return f"{key} must be an object of schemas"
    if key in _LISTS and not (isinstance(value, list) and value):
        return f"{key} must be a list of schemas"
    if key == "enum" and not isinstance(value, list):
        return "enum must be a list"
    if key == "required" and not (isinstance(value, list) and all(isinstance(n, str) for n in value)):
        return "required must be a list of names"
    if key in _NUMBERS and (not isinstance(value, int | float) or isinstance(value, bool)):
        return f"{key} must be a number"
    if key in _COUNTS and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        return f"{key} must be a whole number"
    if key == "pattern":
        return _pattern_fault(value)
    if key == "items" and not isinstance(value, Mapping | list | bool):
        return "items must be a schema"
    if key == "$ref" and not isinstance(value, str):
        return "$ref must be text"
    return None


def _pattern_fault(pattern: object) -> str | None:
    if not isinstance(pattern, str):
        return "pattern must be text"
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return f"the pattern {pattern[:60]!r} is not a valid regular expression"
    return None


def harmless_pattern(pattern: object) -> bool:
    """True if `pattern` is applied: valid, short, and cheap even on the worst text of MAX_PATTERN_SUBJECT.

    Each repeat (and a search that may begin anywhere) multiplies the work by the length of the text, each "maybe" by
    two, each group of alternatives by about ten; a repeated group may multiply without limit (`(a+)+$` took 4.7 s on 28
    characters), and lookarounds and backreferences are not estimated.
    """
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN or _QUANTIFIED_GROUP.search(pattern):
        return False
    if re.search(r"\\[1-9]|\(\?", pattern):
        return False
    repeats = len(_REPEAT.findall(pattern)) + (not pattern.startswith("^"))
    cost = 2.7 * repeats + 0.3 * len(_OPTIONAL.findall(pattern)) + pattern.count("(")
    return cost <= MAX_PATTERN_COST and _pattern_fault(pattern) is None


class _TooMuch(Exception):
    """One check has taken MAX_STEPS."""


_steps: contextvars.ContextVar[list[int]] = contextvars.ContextVar("steps of a schema check")


class ArgumentCheck:
    """Checks arguments against one tool's schema. Built on first use; an invalid schema accepts everything."""

    __slots__ = ("_schema", "_validator")

    def __init__(self, schema: object) -> None:
        self._schema: Mapping[str, Any] | None = schema if isinstance(schema, Mapping) and schema else None
        self._validator: Any = None

    def __call__(self, arguments: Mapping[str, Any]) -> str | None:
        """None if `arguments` are valid, else what is wrong, in words that a model can act on. Never raises."""
        if self._schema is None:
            return None
        if not arguments and not self._schema.get("required") and self._trivial():
            return None
        if self._validator is None:
            self._validator = _validator(self._schema)
        if self._validator is _NO_CHECK:
            return None
        from referencing.exceptions import Unresolvable

        _steps.set([MAX_STEPS])
        try:
            errors = list(islice(self._validator.iter_errors(arguments), MAX_ERRORS))
        except Unresolvable:
            return None  # a reference that we do not follow: left to the tool itself
        except (_TooMuch, RecursionError):
            return "they are too complex to be checked."
        except Exception as error:  # a keyword of a type that the library does not expect: left to the tool itself
            log.debug("a tool's schema cannot be applied: %s", error)
            return None
        return "; ".join(dict.fromkeys(_words(e) for e in errors)) or None

    def admit(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """The arguments to use, and what is wrong with them or None.

        Models write `null` for "not given". If the schema refuses that and does not require the property, it is
        omitted, so that the tool's own default applies.
        """
        wrong = self(arguments)
        if wrong is None or (kept := self._without_nulls(arguments)) is arguments:
            return arguments, wrong
        return kept, self(kept)

    def _without_nulls(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self._schema is not None
        properties, required = self._schema.get("properties"), self._schema.get("required") or ()
        if not isinstance(properties, Mapping) or not isinstance(required, list | tuple):
            return arguments
        shared = {key: self._schema[key] for key in ("$defs", "definitions") if key in self._schema}
        unwanted = [
            name
            for name, value in arguments.items()
            if value is None
            and name in properties
            and name not in required
            and ArgumentCheck({"properties": {name: properties[name]}, **shared})({name: None}) is not None
        ]
        return {name: value for name, value in arguments.items() if name not in unwanted} if unwanted else arguments

    def _trivial(self) -> bool:
        """True if nothing in the root schema could refuse an empty object."""
        return self._schema is not None and self._schema.keys() <= {
            "type", "properties", "required", "additionalProperties", "title", "description", "$schema", "$defs",
        }  # fmt: skip


_NO_CHECK: Final = object()


def _words(error: Any) -> str:
    path = ".".join(str(part) for part in islice(error.absolute_path, 8))
    message = str(error.message)
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE // 2] + " … " + message[-MAX_MESSAGE // 2 :]
    return f"{path}: {message}" if path else message


def _validator(schema: Mapping[str, Any]) -> Any:
    # 65 ms and 5 MB, only spent if tools are called
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    if schema_fault(schema) is not None:
        return _NO_CHECK  # the server's own mistake
    counted = {
        key: _counted(check, 6 if key == "$ref" else 1) for key, check in Draft202012Validator.VALIDATORS.items()
    }
    counted["pattern"] = _counted(_short_pattern(Draft202012Validator.VALIDATORS["pattern"]), 1)
    extend: Callable[..., Any] = validators.extend
    bounded = extend(Draft202012Validator, counted)
    # An empty registry: nothing is ever fetched.
    return bounded(_bounded(schema, 0), registry=Registry())


def _counted(check: Callable[..., Any], cost: int) -> Callable[..., Iterator[Any]]:
    def counting(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        left = _steps.get()
        left[0] -= cost if not isinstance(instance, list | dict) else cost + len(instance) // 16
        if left[0] < 0:
            raise _TooMuch
        for error in check(validator, value, instance, schema) or ():
            left[0] -= 50  # formatting an error formats the value it complains about
            yield error

    return counting


def _short_pattern(check: Callable[..., Any]) -> Callable[..., Any]:
    def tried(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if isinstance(instance, str) and len(instance) > MAX_PATTERN_SUBJECT:
            return ()
        return check(validator, value, instance, schema)

    return tried


def _bounded(schema: Any, depth: int) -> Any:
    """A copy of `schema` without what cannot be checked in bounded time; references stay local."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return schema if isinstance(schema, bool) else {}
    if not str(schema.get("$ref", "#")).startswith("#"):
        return {}
    copied: dict[str, Any] = {}
    patterns = schema.get("patternProperties")
    loose = isinstance(patterns, Mapping) and not all(harmless_pattern(p) for p in patterns)
    for key, value in schema.items():
        if key in ("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "uniqueItems", "format"):
            continue
        if key == "pattern" and not harmless_pattern(value):
            continue
        if loose and key in ("patternProperties", "additionalProperties", "unevaluatedProperties"):
            continue
        if key in _MAPS and isinstance(value, Mapping):
            copied[key] = {k: _bounded(v, depth + 1) for k, v in value.items()}
        elif isinstance(value, list) and key in ("allOf", "anyOf", "oneOf", "prefixItems", "items"):
            # A list of items is draft 7's form of prefixItems.
            copied["prefixItems" if key == "items" else key] = [_bounded(v, depth + 1) for v in value]
        elif isinstance(value, Mapping) and any(value is child for child in subschemas({key: value})):
            copied[key] = _bounded(value, depth + 1)
        else:
            copied[key] = value
    return copied
