"""An HTTP action as one request, and its answer as text. No I/O."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus

from openai_proxy.config.tool_file import HttpAction
from openai_proxy.config.tool_places import PlacedText
from openai_proxy.tools.declared import filling
from openai_proxy.tools.declared.filling import MISSING, Arguments
from openai_proxy.tools.handler import ToolFailure

MAX_ANSWER: Final = 2 << 20
"""Bytes of an answer that are read: a model gets far less."""

_SHOWN: Final = 300  # characters of an error's body shown to the model
_TEXTUAL: Final = re.compile(
    r"text/|application/(?:.*\+)?(?:json|xml|yaml|x-yaml|javascript|x-ndjson|x-www-form-urlencoded)\b"
)
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """The request to send. `private`: the host may have a private address."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = None
    private: bool = False


def make_request(action: HttpAction, parameters: Mapping[str, Any], given: Mapping[str, Any]) -> ToolRequest:
    """The request of `action` with the arguments `given`. Raises ToolFailure for those that do not fit."""
    arguments = Arguments(given, parameters)
    url = filling.url_of(action.url, arguments)
    if query := _query(action, arguments):
        url = f"{url}{'&' if '?' in url else '?'}{query}"
    headers: dict[str, str] = {}
    for name, text in action.headers:
        if (value := filling.header_text(text, arguments)) is not None:
            headers[name] = value
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), None)
    body: bytes | None = None
    if action.has_json:
        document = filling.fill_value(action.json, arguments)
        if document is not MISSING:
            body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
            kind = kind or headers.setdefault("Content-Type", "application/json")
    elif action.body is not None:
        body = _body(action.body, arguments, kind or "").encode("utf-8", "replace")
        if kind is None:
            headers["Content-Type"] = "text/plain; charset=utf-8"
    return ToolRequest(action.method, url, headers, body, action.private)


def _query(action: HttpAction, arguments: Arguments) -> str:
    pairs: list[str] = []
    for name, value in action.query:
        filled = filling.fill_value(value, arguments)
        if filled is MISSING or (isinstance(value, PlacedText) and _misses(value, arguments)) or filled is None:
            continue
        for member in filled if isinstance(filled, list) else [filled]:
            text = filling.refuse_line_breaks(name, filling.as_text(member))
            pairs.append(f"{filling.quote_value(name)}={filling.quote_value(text)}")
    return "&".join(pairs)


def _misses(text: PlacedText, arguments: Arguments) -> bool:
    return any(arguments.value(name) is MISSING for name in text.places)


def _body(body: PlacedText, arguments: Arguments, kind: str) -> str:
    """A text body; in a form or JSON, arguments are escaped so that each stays a single value."""

    def encode(text: str) -> str:
        if kind.startswith(_FORM):
            return quote_plus(text.encode("utf-8", "replace"))
        return json.dumps(text, ensure_ascii=False)[1:-1] if "json" in kind else text

    pieces = []
    for part in body.parts:
        if isinstance(part, str):
            pieces.append(part)
        elif (value := arguments.value(part.name)) is not MISSING:
            pieces.append(encode(filling.as_text(value)))
    return "".join(pieces)


def read_answer(status: int, reason: str, kind: str, body: bytes, result: tuple[str, ...]) -> Any:
    """The answer for the model: its text, or the value at the path `result` of its JSON.

    Raises ToolFailure for an error status, and if there is no such value.
    """
    if status >= 400:
        shown = " ".join(_text(body, kind).split())[:_SHOWN] if _textual(kind) else ""
        raise ToolFailure(f"HTTP {status} {reason}".strip() + (f": {shown}" if shown else ""))
    if result:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise ToolFailure("The answer is not JSON.") from None
        return _member(document, result)
    if body and not _textual(kind) and b"\0" in body[:1024]:
        return f"({kind or 'binary data'}, {len(body)} bytes)"
    return _text(body, kind)


def _textual(kind: str) -> bool:
    return not kind or _TEXTUAL.match(kind.lower()) is not None


def _text(body: bytes, kind: str) -> str:
    found = re.search(r'charset="?([\w.:-]+)', kind, re.IGNORECASE)
    try:
        return body.decode(found[1] if found else "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _member(document: Any, path: tuple[str, ...]) -> Any:
    here = document
    for index, step in enumerate(path):
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.lstrip("-").isdecimal() and -len(here) <= int(step) < len(here):
            here = here[int(step)]
        else:
            raise ToolFailure(f"The answer has no {'.'.join(path[: index + 1])}.")
    return here
