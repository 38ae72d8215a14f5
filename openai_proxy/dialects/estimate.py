"""Estimates the number of tokens of a request, for token-counting endpoints of models whose provider has none."""

from typing import Any, Final

_CHARACTERS: Final = 4  # characters per token, in English text and JSON
_MESSAGE: Final = 4  # tokens of overhead per message
_MEDIA: Final = {
    "image_url": 1000, "input_audio": 500, "file": 1500,
    "input_image": 1000, "input_file": 1500, "computer_screenshot": 1000, "image_generation_call": 1000,
    "image": 1600, "document": 1600,
}  # fmt: skip
"""Tokens of one image, sound, document or page of one: the order of magnitude with most models, whatever their size.
Claude's largest unscaled image has 1600 (https://docs.anthropic.com/en/docs/build-with-claude/vision).
"""

_PAGE: Final = 100_000  # base64 characters per page of a document
_COUNTED: Final = ("system", "instructions", "messages", "input", "tools")


def estimate_tokens(document: dict[str, Any]) -> int:
    """The approximate number of tokens of the prompt of a chat, Messages or Responses request. At least 1."""
    tokens, characters = 0, 0
    waiting = [document.get(name) for name in _COUNTED]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            media = _media(value)
            tokens += media or (_MESSAGE if "role" in value else 0)
            if not media:
                characters += sum(map(len, value))
                waiting += value.values()
        elif value is not None:
            characters += 4
    return max(1, tokens + characters // _CHARACTERS)


def _media(part: dict[str, Any]) -> int:
    """The tokens of a part with an image, sound or document; 0 for any other."""
    kind, source = part.get("type"), part.get("source")
    tokens = _MEDIA.get(kind, 0) if isinstance(kind, str) else 0
    if not isinstance(source, dict):
        return tokens
    if source.get("type") == "text":
        return 0
    data = source.get("data")
    return tokens * (1 + len(data) // _PAGE) if kind == "document" and isinstance(data, str) else tokens
