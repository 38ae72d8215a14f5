"""What the echo model makes of a text: which offered tools it asks for, and with which arguments.

A tool is asked for by its name, as a whole word: `use calculator {"expression": "2+2"}`,
`call get_current_time(timezone="UTC")`, `please try mcp_house_lights`. Arguments follow the name as a JSON object or
as `(name=value, …)`; without any they are `{}`.
"""

import json
import re
from typing import Any

import orjson

_FILLER = re.compile(r"[\s:`\"']*(?:(?:tool|function|with|arguments|args|and)\b[\s:`]*)*", re.IGNORECASE)
_PAIR = re.compile(
    r"""\s*(?P<name>[A-Za-z_][\w-]*)\s*=\s*
        (?:(?P<word>true|false|null|True|False|None)\b
          |(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
          |"(?P<double>(?:[^"\\]|\\.)*)"
          |'(?P<single>(?:[^'\\]|\\.)*)')
        \s*(?P<end>,|\))""",
    re.VERBOSE,
)
_NAME = re.compile(r"[\w-]+")
_MAX_ODD_NAMES = 64  # names that are no words: each of them is looked for by itself
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_decoder = json.JSONDecoder()
_MAX_CALLS = 128
_MAX_ARGUMENTS = 65536  # characters looked at after a name: a model's arguments are far below


def asked_calls(text: str, names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """The calls `text` asks for among the tools called `names`, in the text's order, each tool once."""
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
    """`a="x", n=1)` as a dict; `{"a": …})` too. Anything else is no arguments."""
    if text.lstrip().startswith("{"):
        return _arguments(text)
    arguments: dict[str, Any] = {}
    position = 0
    while (pair := _PAIR.match(text, position)) is not None:
        arguments[pair["name"]] = _value(pair)
        position = pair.end()
        if pair["end"] == ")":
            break
    return arguments


def _value(pair: re.Match[str]) -> Any:
    if pair["word"] is not None:
        return _WORDS[pair["word"]]
    if pair["number"] is not None:
        number = float(pair["number"])
        return int(pair["number"]) if re.fullmatch(r"-?\d+", pair["number"]) else number
    quoted = pair["double"] if pair["double"] is not None else pair["single"]
    return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or its text parts one after the other."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def tool_results(messages: list[dict[str, Any]]) -> str | None:
    """The text that answers with the tool results at the end of `messages`: `name: result` lines; None without any."""
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
