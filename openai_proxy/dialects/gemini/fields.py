"""Members of Gemini's documents, which clients may write in either case (`inlineData`, `inline_data`), like Google.

https://protobuf.dev/programming-guides/json/
"""

import re
from functools import cache
from typing import Any, Final

from openai_proxy.errors import BadRequest

_UPPER: Final = re.compile(r"[A-Z]")


@cache
def _snake(name: str) -> str:
    return _UPPER.sub(lambda found: "_" + found[0].lower(), name)


def member(document: dict[str, Any], name: str) -> Any:
    """The member called `name` (camel case), None if missing."""
    value = document.get(name)
    return document.get(_snake(name)) if value is None else value


def camel(name: str) -> str:
    """`name` in camel case."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def objects(value: Any, param: str) -> list[dict[str, Any]]:
    """A list of objects; a single object counts as a list of one, None as none. Raises BadRequest."""
    if value is None:
        return []
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise BadRequest(f"'{param}' must be a list of objects.", param=param)
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadRequest(f"'{param}[{index}]' must be an object.", param=f"{param}[{index}]")
    return entries


def an_object(value: Any, param: str) -> dict[str, Any]:
    """An object; None counts as an empty one. Raises BadRequest."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"'{param}' must be an object.", param=param)
    return value
