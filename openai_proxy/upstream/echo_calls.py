"""The echo model's tool calls: which offered tools a text names, and with which arguments.

A tool is requested by its name, as a whole word: `use calculator {"expression": "2+2"}`,
`call get_current_time(timezone="UTC")`, `please try mcp_house_lights`. Arguments follow the name as a JSON object or
as `(name=value, …)`; without any they are `{}`.
"""

import json
import re
from typing import Any

import orjson

from openai_proxy.protocols.call_arguments import Grammar, read_arguments, string

_FILLER = re.compile(r"[\s:`\"']*(?:(?:tool|function|with|arguments|args|and)\b[\s:`]*)*", re.IGNORECASE)
_NAME = re.compile(r"[\w-]+")
_MAX_ODD_NAMES = 64  # names that are not words: each is searched for separately
_WORD = re.compile(r"(?:true|false|null|True|False|None)\b")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_NUMBER = re.compile(r"-?\d{1,4000}(\.\d+)?([eE][+-]?\d+)?")  # Python refuses integers of 4,300 digits
_decoder = json.JSONDecoder()
_MAX_CALLS = 128
_MAX_ARGUMENTS = 65536  # characters examined after a name: a model's arguments are far shorter


def asked_calls(text: str, names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """The calls that `text` requests of the tools called `names`, in the text's order, each tool once."""
    words = frozenset(name for name in names if _NAME.fullmatch(name))
    places: dict[str, int] = {}
    for match in _NAME.finditer(text):
        if match[0] in words and match[0] not in places:
            places[match[0]] = match.end()
    for name in [name for name in dict.fromkeys(names) if name not in words][:_MAX_ODD_NAMES]:
        odd = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) if name else None
        if odd is not None:
            places[name] = odd.end()
    asked = sorted(places.items(), key=lambda place: place[1] - len(place[0]))
    return [(name, _arguments(text[end : end + _MAX_ARGUMENTS])) for name, end in asked[:_MAX_CALLS]]


def _arguments(rest: str) -> dict[str, Any]:
    if rest.startswith("("):
        return _pairs(rest[1:])
    filler = _FILLER.match(rest)
    start = filler.end() if filler is not None else 0
    if rest.startswith("{", start):
        try:
            value, _ = _decoder.raw_decode(rest, start)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}
    return {}


def _pairs(text: str) -> dict[str, Any]:
    """`a="x", n=1)` as a dict; `{"a": …})` too. Anything else counts as no arguments."""
    if text.lstrip().startswith("{"):
        return _arguments(text)
    return {str(name): value for name, value in read_arguments(_ARGUMENTS, text, 0, len(text))[0]}


def _value(text: str, position: int, limit: int) -> tuple[Any, int] | None:
    """A value as people write it: also Python's constants, multi-line strings, integers beyond 64 bits."""
    if text[position : position + 1] in ('"', "'"):
        return string(text, position, limit, lines=True)
    if (word := _WORD.match(text, position, limit)) is not None:
        return _WORDS[word[0]], word.end()
    if (number := _NUMBER.match(text, position, limit)) is None:
        return None
    return (float if number[1] or number[2] else int)(number[0]), number.end()


_ARGUMENTS = Grammar(re.compile(r"([A-Za-z_][\w-]*)\s*="), _value, space=re.compile(r"\s*"))


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or its text parts one after the other."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def tool_results(messages: list[dict[str, Any]]) -> str | None:
    """The answer to the tool results at the end of `messages`: `name: result` lines; None without any."""
    results: list[dict[str, Any]] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.append(message)
    if not results:
        return None
    names: dict[Any, Any] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict) and isinstance(call.get("function"), dict):
                names[str(call.get("id"))] = call["function"].get("name")
    lines = []
    for result in reversed(results):
        name = names.get(str(result.get("tool_call_id"))) or result.get("name") or "tool"
        lines.append(f"{name}: {text_of(result.get('content'))}")
    return "\n".join(lines)


def encode_arguments(arguments: dict[str, Any]) -> str:
    """Arguments as the JSON text a tool call carries."""
    try:
        return orjson.dumps(arguments).decode()
    except (TypeError, orjson.JSONEncodeError):  # an integer beyond 64 bits: json.loads takes it, orjson does not
        return json.dumps(arguments)
