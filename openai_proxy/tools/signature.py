"""A JSON Schema from a function's signature and docstring, and calls with a model's arguments.

pydantic reads the types and turns JSON into dataclasses, enums and dates; the descriptions, which it does not read, are
read here: `Annotated[str, "…"]` and docstrings in Google's, NumPy's and Sphinx's style.
"""

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, Final

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from openai_proxy.dialects.tool_schema import written_out
from openai_proxy.tools.handler import ToolFailure

_ARGUMENTS: Final = re.compile(
    r"(?:args|arguments|parameters|params|keyword args|keyword arguments)\s*:?\s*\Z", re.IGNORECASE
)
_OTHER: Final = re.compile(
    r"(?:returns?|raises?|yields?|examples?|notes?|warnings?|see also|references|attributes)\s*:?\s*\Z", re.IGNORECASE
)
_GOOGLE: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)\Z")
_NUMPY: Final = re.compile(r"\*{0,2}(\w+)\s*(?::\s*\S.*)?\Z")
_SPHINX: Final = re.compile(r":param(?:eter)?\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)\Z")
_SPHINX_OTHER: Final = re.compile(r":(?:type|returns?|rtype|raises?)\b[^:]*:")
_RULE: Final = re.compile(r"-{3,}\Z")


class Signature:
    """A function's parameters. Raises TypeError on creation if no JSON Schema describes them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        if kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}:
            raise TypeError("a tool's arguments must have names: positional-only ones and *args have none")
        try:
            adapter: Any = TypeAdapter  # its type annotations do not allow functions, but its documentation does
            self._adapter = adapter(function, config=ConfigDict(arbitrary_types_allowed=False))
            schema = self._adapter.json_schema()
        except (PydanticUserError, NameError, ValueError) as error:
            raise TypeError(f"the signature has no JSON Schema: {str(error).splitlines()[0]}") from None
        self.description, words = read_docstring(inspect.getdoc(function) or "")
        words |= _annotated(function)
        parameters = written_out(_without_titles(schema))
        parameters.setdefault("properties", {})
        for name, described in words.items():
            prop = parameters["properties"].get(name)
            if isinstance(prop, dict):
                prop.setdefault("description", described)
        self.parameters: dict[str, Any] = parameters

    def call(self, arguments: dict[str, Any]) -> Any:
        """The function's own result, or its coroutine. Raises ToolFailure if the arguments do not fit."""
        try:
            return self._adapter.validate_python(ArgsKwargs((), arguments))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)[:5]
            )
            raise ToolFailure(f"Wrong arguments: {wrong}") from None


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """(what the function does, argument -> description) of a docstring cleaned by inspect.getdoc."""
    lines = text.splitlines()
    about: list[str] = []
    words: dict[str, list[str]] = {}
    section, current, indent = "about", None, -1
    for number, line in enumerate(lines):
        stripped = line.strip()
        if _RULE.match(stripped):
            continue
        underlined = number + 1 < len(lines) and _RULE.match(lines[number + 1].strip()) is not None
        top = bool(line) and not line[0].isspace()
        if top and (stripped.endswith(":") or underlined) and (_ARGUMENTS.match(stripped) or _OTHER.match(stripped)):
            arguments = _ARGUMENTS.match(stripped) is not None
            section = ("numpy" if underlined else "google") if arguments else "other"
            current, indent = None, -1
        elif found := _SPHINX.match(stripped):
            section, current = "sphinx", found.group(1)
            words[current] = [found.group(2)]
        elif _SPHINX_OTHER.match(stripped):
            section, current = "other", None
        elif section == "about":
            about.append(line)
        elif section == "sphinx" and current and stripped:
            words[current].append(stripped)
        elif section in ("google", "numpy") and stripped:
            depth = len(line) - len(line.lstrip())
            indent = depth if indent < 0 else indent
            begins = (_GOOGLE if section == "google" else _NUMPY).match(stripped) if depth <= indent else None
            if begins:
                current = begins.group(1)
                words[current] = [begins.group(2)] if section == "google" else []
            elif current:
                words[current].append(stripped)
    return "\n".join(about).strip(), {
        name: " ".join(filter(None, sentences)) for name, sentences in words.items() if any(sentences)
    }


def _annotated(function: Callable[..., Any]) -> dict[str, str]:
    """argument -> the text in its `Annotated[…, "text"]`."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        return {}
    found: dict[str, str] = {}
    for name, hint in hints.items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, str):
                found[name] = extra
    return found


def _without_titles(schema: Any, *, names: bool = False) -> Any:
    """Remove pydantic's titles, which repeat names and only cost tokens. `names`: the keys are properties."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_titles(value, names=not names and key in ("properties", "$defs"))
        for key, value in schema.items()
        if names or key != "title" or not isinstance(value, str)
    }
