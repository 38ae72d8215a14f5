"""The text of an answer, read from what the record was told: with it a conversation without a name is found again."""

from typing import Any

import orjson

from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.records.recording.entry import Entry

MAX = 4 << 20
"""Bytes of an answer that are kept for this; a longer one cannot be matched, and its session ends with it."""


def listen(entry: Entry) -> None:
    """Keep what is recorded of the answer until it is over."""
    entry.limit = MAX


def heard(entry: Entry, path: str) -> str:
    """The answer's text as a client would quote it; without text, the names of the tools it calls."""
    body = b"".join(entry.parts)
    if body.lstrip()[:1] == b"{":
        return _whole(_parsed(body), path)
    texts: list[str] = []
    names: list[str] = []
    for event in EventSplitter().feed(body):
        value = _parsed(event.data)
        text, more = _piece(value, path)
        texts.append(text)
        names += more
    return "".join(texts) or "\x1f".join(names)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _whole(answer: dict[str, Any], path: str) -> str:
    if path == "/chat/completions":
        message = _first(answer.get("choices")).get("message")
        return _said(message if isinstance(message, dict) else {})
    if path == "/messages":
        return _texts(answer.get("content"))
    items = answer.get("output")
    return "".join(_texts(item.get("content")) for item in items or () if isinstance(item, dict))


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    text = content if isinstance(content, str) else _texts(content)
    return text or "\x1f".join(_names(message.get("tool_calls")))


def _piece(event: dict[str, Any], path: str) -> tuple[str, list[str]]:
    if path == "/chat/completions":
        delta = _first(event.get("choices")).get("delta")
        if not isinstance(delta, dict):
            return "", []
        content = delta.get("content")
        return content if isinstance(content, str) else "", _names(delta.get("tool_calls"))
    if event.get("type") == "response.output_text.delta":
        return str(event.get("delta", "")), []
    delta = event.get("delta")
    return str(delta.get("text", "")) if isinstance(delta, dict) else "", []


def _first(choices: Any) -> dict[str, Any]:
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _texts(parts: Any) -> str:
    return text_of(parts)[0]


def _names(calls: Any) -> list[str]:
    functions = [call.get("function") for call in calls or () if isinstance(call, dict)]
    return [str(f["name"]) for f in functions if isinstance(f, dict) and f.get("name")]
