"""Arguments into the places of a tool without code, so that none can leave its place.

An argument never becomes another path segment, another header, another option or another host: what could is refused,
with words a model can act on.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from openai_proxy.config.tool_places import ArgumentPlace, PlacedText
from openai_proxy.tools.handler import ToolFailure

MISSING: Final = object()
"""A value whose argument was not given."""

_LINE_BREAK: Final = re.compile("[\r\n\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_RESERVED: Final = ":/?#[]@!$&'()*+,;=%"
_SEPARATORS: Final = re.compile(r"[/\\]")


class Arguments:
    """The arguments of one call: what was given, else the default of the tool's schema."""

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
        """True where the owner's schema itself says what values there are, or that they are numbers."""
        schema = self._schemas.get(name)
        if not isinstance(schema, Mapping):
            return False
        return schema.get("type") in ("integer", "number") or "enum" in schema or "const" in schema


def as_text(value: Any) -> str:
    """An argument as text: strings as they are, true and false as in JSON, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def fill(text: PlacedText, arguments: Arguments, encode: Callable[[str, str], str]) -> str | None:
    """`text` with its places filled, each through `encode` (name, text of the argument). None if one is missing."""
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
    """A JSON value with its places filled: a place that is the whole text keeps the argument's type.

    Members whose argument is missing are left out; in a longer text the place is empty then. MISSING if the whole is.
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
    """The URL with arguments percent-encoded. Raises ToolFailure for one that is missing or would leave its segment."""
    pieces: list[str] = []
    in_query = False
    for part in url.parts:
        if isinstance(part, ArgumentPlace):
            pieces.append(_in_url(part.name, arguments, in_query=in_query))
        else:
            in_query = in_query or "?" in part
            pieces.append(quote(part, safe=_RESERVED))  # only what is not ASCII changes, or would break a line
    filled = "".join(pieces)
    path = filled.partition("://")[2].partition("?")[0]
    if any(unquote(segment) in (".", "..") for segment in path.split("/")[1:]):
        raise ToolFailure("An argument may not be . or .. in a path.")
    return filled


def _in_url(name: str, arguments: Arguments, *, in_query: bool) -> str:
    value = arguments.value(name)
    if value is MISSING:
        raise ToolFailure(f"The argument {name} is missing.")
    text = refuse_line_breaks(name, as_text(value))
    if not in_query:
        if not text.strip():
            raise ToolFailure(f"The argument {name} may not be empty.")
        refuse_dots(name, text)
    return quote_value(text)


def quote_value(text: str) -> str:
    """`text` percent-encoded for any place in a URL: `/`, `?`, `#`, `&`, `@` and `%` too."""
    return quote(text.encode("utf-8", "replace"), safe="")


def refuse_line_breaks(name: str, text: str) -> str:
    """`text` as it is. Raises ToolFailure if it holds a line break or NUL."""
    if _LINE_BREAK.search(text):
        raise ToolFailure(f"The argument {name} may not hold line breaks.")
    return text


def refuse_dots(name: str, text: str) -> str:
    """`text` as it is. Raises ToolFailure for `..` as a path segment, percent-encoded (also twice) or not."""
    seen = text
    for _ in range(3):
        if ".." in _SEPARATORS.split(seen):
            raise ToolFailure(f"The argument {name} may not hold .. as part of a path.")
        seen = unquote(seen)
    return text


def header_text(text: PlacedText, arguments: Arguments) -> str | None:
    """The value of a header; None if an argument is missing. Raises ToolFailure for line breaks."""
    return fill(text, arguments, refuse_line_breaks)


def command_word(text: PlacedText, arguments: Arguments) -> str | None:
    """One argument of a program; None if an argument of ours is missing, and the word with it.

    Raises ToolFailure for line breaks, `..` in a path, and a value that would be read as an option: it may begin
    with `-` only behind other text of the owner's, or where the schema lists its values or asks for a number.
    """

    def encode(name: str, value: str) -> str:
        return refuse_dots(name, refuse_line_breaks(name, value))

    word = fill(text, arguments, encode)
    if word is not None and word.startswith("-") and not text.beginning and text.places:
        name = text.places[0]
        if not arguments.may_be_option(name):
            raise ToolFailure(f"The argument {name} may not begin with -.")
    return word
