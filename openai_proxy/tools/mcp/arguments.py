"""A call's arguments against the server's own schema, before anything is sent: cheap, and a better message.

The schema is a stranger's: no `$ref` is ever fetched, and its regular expressions are left out (one of them could
stall the loop for minutes); the server checks again anyway. Nothing is coerced.
"""

from collections.abc import Mapping
from typing import Any

_LEFT_OUT = frozenset({"pattern", "patternProperties", "format", "$schema", "$id", "id"})
_SHOWN = 3


class ArgumentCheck:
    """The compiled check of one input schema. A schema that cannot be compiled checks nothing."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # Imported here because it costs 0.1 s; `sdk.py` has loaded it in a thread before any tool exists.
        import jsonschema
        import referencing

        without_patterns = _prepared(schema)
        self._validator = jsonschema.Draft202012Validator(without_patterns, registry=referencing.Registry())

    def complaint(self, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with `arguments`, in words for the model; None if they fit."""
        texts: list[str] = []
        try:
            for problem in self._validator.iter_errors(arguments):
                where = ".".join(str(part) for part in problem.absolute_path)
                texts.append(f"{where}: {problem.message[:200]}" if where else problem.message[:200])
                if len(texts) == _SHOWN:
                    break
        except Exception:
            # An unresolvable or endless reference, a keyword of the wrong type: the server knows its schema better.
            return None
        return "Invalid arguments: " + "; ".join(texts) if texts else None


def _prepared(node: Any, names: bool = False) -> Any:
    """A copy of a schema without what must not run; `names`: the keys of `node` are property names, not keywords."""
    if isinstance(node, Mapping):
        return {
            key: _prepared(value, not names and key in ("properties", "$defs", "definitions", "dependentSchemas"))
            if key not in ("enum", "const", "default", "examples")
            else value
            for key, value in node.items()
            if names or key not in _LEFT_OUT
        }
    return [_prepared(item) for item in node] if isinstance(node, list) else node
