"""About how many tokens a request has, where nobody who knows is asked: for the endpoints that count them."""

from typing import Any, Final

import orjson

_CHARACTERS: Final = 4  # of a token, in English text and JSON
_MESSAGE: Final = 4  # tokens around a message
_MEDIA: Final = {"image_url": 1000, "input_audio": 500, "file": 1500}
"""Tokens of one picture, sound or document: their order of magnitude with most models, whatever their bytes."""


def estimate_tokens(chat: dict[str, Any]) -> int:
    """About how many tokens the prompt of a chat request has. At least 1."""
    tokens, characters = 0, 0
    for message in chat.get("messages") or ():
        tokens += _MESSAGE
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            tokens += _MEDIA.get(kind or "", 0)
            characters += len(str(part.get("text") or "")) if kind == "text" else 0
        if isinstance(content, str):
            characters += len(content)
        if message.get("tool_calls"):
            characters += len(orjson.dumps(message["tool_calls"]))
        thoughts = message.get("reasoning_content")
        characters += len(thoughts) if isinstance(thoughts, str) else 0
    if chat.get("tools"):
        characters += len(orjson.dumps(chat["tools"]))
    return max(1, tokens + characters // _CHARACTERS)
