"""Fills arguments into the placeholders of a tool without code, so that none can escape its place.

An argument never becomes another path segment, header, option or host: one that could is refused, in words that a model
can act on.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from openai_proxy.config.tool_places import ArgumentPlace, PlacedText
from openai_proxy.tools.handler import ToolFailure

MISSING: Final = object()
"""A value whose argument is missing."""

_LINE_BREAK: Final = re.compile("[\r\n\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_RESERVED: Final = ":/?#[]@!$&'()*+,;=%"
_SEPARATORS: Final = re.compile(r"[/\\]")


class Arguments:
    """The arguments of one call: the given ones, else the defaults of the tool's schema."""

    def __init__(self, given: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        properties = parameters.get("properties")
        self._schemas: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        defaults = {
            name: schema["default"]
            for name, schema in self._schemas.items()
            if isinstance(schema, Mapping) and "default" in schema
        }
        self._values = {**defaults, **{name: value for name, value in given.items() if value is not None}}

    def value(self, name: str) -> Any:
        """The argument called `name`, or MISSING."""
        return self._values.get(name, MISSING)

    def may_be_option(self, name: str) -> bool:
        """True if the owner's schema lists the allowed values, or requires numbers."""
        schema = self._schemas.get(name)
        if not isinstance(schema, Mapping):
            return False
        return schema.get("type") in ("integer", "number") or "enum" in schema or "const" in schema


def as_text(value: Any) -> str:
    """An argument as text: strings unchanged, booleans as in JSON, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def fill(text: PlacedText, arguments: Arguments, encode: Callable[[str, str], str]) -> str | None:
    """`text` with its placeholders filled, each through `encode` (name, argument as text). None if one is missing."""
    pieces: list[str] = []
    for part in text.parts:
        if isinstance(part, str):
            pieces.append(part)
            continue
        value = arguments.value(part.name)
        if value is MISSING:
            return None
        pieces.append(encode(part.name, as_text(value)))
    return "".join(pieces)


def fill_value(value: Any, arguments: Arguments) -> Any:
    """A JSON value with its placeholders filled: a placeholder that is the whole text keeps the argument's type.

    Members with a missing argument are omitted; inside a longer text it becomes empty. MISSING if the whole value is.
    """
    if isinstance(value, PlacedText):
        if (name := value.whole) is not None:
            return arguments.value(name)
        texts = (
            part if isinstance(part, str) else _text_or_nothing(arguments.value(part.name)) for part in value.parts
        )
        return "".join(texts)
    if isinstance(value, dict):
        filled = {key: fill_value(member, arguments) for key, member in value.items()}
        return {key: member for key, member in filled.items() if member is not MISSING}
    if isinstance(value, list):
        return [member for item in value if (member := fill_value(item, arguments)) is not MISSING]
    return value


def _text_or_nothing(value: Any) -> str:
    return "" if value is MISSING else as_text(value)


def url_of(url: PlacedText, arguments: Arguments) -> str:
    """The URL with arguments percent-encoded. Raises ToolFailure if one is missing or would leave its segment."""
    pieces: list[str] = []
    in_query = False
    for part in url.parts:
        if isinstance(part, ArgumentPlace):
            pieces.append(_in_url(part.name, arguments, in_query=in_query))
        else:
            in_query = in_query or "?" in part
            pieces.append(quote(part, safe=_RESERVED))  # only non-ASCII characters and line breaks are changed
    filled = "".join(pieces)
    path = filled.partition("://")[2].partition("?")[0]
    if any(unquote(segment) in (".", "..") for segment in path.split("/")[1:]):
        raise ToolFailure("An argument must not be . or .. in a path.")
    return filled


def _in_url(name: str, arguments: Arguments, *, in_query: bool) -> str:
    value = arguments.value(name)
    if value is MISSING:
        raise ToolFailure(f"The argument {name} is missing.")
    text = refuse_line_breaks(name, as_text(value))
    if not in_query:
        if not text.strip():
            raise ToolFailure(f"The argument {name} must not be empty.")
        refuse_dots(name, text)
    return quote_value(text)


def quote_value(text: str) -> str:
    """`text` percent-encoded for any place in a URL, including `/`, `?`, `#`, `&`, `@` and `%`."""
    return quote(text.encode("utf-8", "replace"), safe="")


def refuse_line_breaks(name: str, text: str) -> str:
    """`text` unchanged. Raises ToolFailure if it contains a line break or NUL."""
    if _LINE_BREAK.search(text):
        raise ToolFailure(f"The argument {name} must not contain line breaks.")
    return text


def refuse_dots(name: str, text: str) -> str:
    """`text` unchanged. Raises ToolFailure for `..` as a path segment, percent-encoded (even twice) or not."""
    seen = text
    for _ in range(3):
        if ".." in _SEPARATORS.split(seen):
            raise ToolFailure(f"The argument {name} must not contain .. as part of a path.")
        seen = unquote(seen)
    return text


def header_text(text: PlacedText, arguments: Arguments) -> str | None:
    """The value of a header; None if an argument is missing. Raises ToolFailure for line breaks."""
    return fill(text, arguments, refuse_line_breaks)


def command_word(text: PlacedText, arguments: Arguments) -> str | None:
    """One argument of a program; None, omitting the word, if an argument of ours is missing.

    Raises ToolFailure for line breaks, `..` in a path, and a value that would be read as an option: it may begin with
    `-` only after other text of the owner's, or if the schema lists its values or requires a number.
    """

    def encode(name: str, value: str) -> str:
        return refuse_dots(name, refuse_line_breaks(name, value))

    word = fill(text, arguments, encode)
    if word is not None and word.startswith("-") and not text.beginning and text.places:
        name = text.places[0]
        if not arguments.may_be_option(name):
            raise ToolFailure(f"The argument {name} must not begin with -.")
    return word
