"""A client's own marks for Anthropic's prompt cache (`cache_control`), carried through a chat request.

They are placed as gateways with the chat API expect them: on content parts, tools, tool messages and calls. Claude gets
them back; other providers would refuse the member. The API allows four, and translation never adds any.
https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
"""

from collections.abc import Mapping
from typing import Any, Final

CACHE_CONTROL: Final = "cache_control"


def last_mark(blocks: Any) -> Any:
    """The mark of the last block that has one: it covers what earlier marks would store. None without any."""
    for block in reversed(blocks) if isinstance(blocks, list) else ():
        if isinstance(block, Mapping) and (mark := block.get(CACHE_CONTROL)):
            return mark
    return None


def with_mark(text: str, mark: Any) -> Any:
    """`text` as content that is marked at its end; the text itself if there is no mark."""
    return [{"type": "text", "text": text, CACHE_CONTROL: mark}] if mark and text else text


def fit_marks(chat: dict[str, Any], api_type: str) -> dict[str, Any]:
    """`chat` adapted to a connection of this type: itself if it has no marks or may keep them, else a copy.

    Gateways with the chat API support marks for Claude models, on content parts.
    """
    if api_type == "anthropic":
        return chat
    gateway = api_type == "openai" and "claude" in str(chat.get("model"))
    messages, tools = chat.get("messages"), chat.get("tools")
    changed: dict[str, Any] = {}
    if isinstance(messages, list) and any(map(_is_marked, messages)):
        changed["messages"] = [_unmarked(m, parts=gateway) if _is_marked(m) else m for m in messages]
    if isinstance(tools, list) and any(_has(tool) for tool in tools):
        changed["tools"] = [_without(tool) if _has(tool) else tool for tool in tools]
    if CACHE_CONTROL in chat and not gateway:
        return {**_without(chat), **changed}
    return {**chat, **changed} if changed else chat


def _has(entry: Any) -> bool:
    return isinstance(entry, dict) and CACHE_CONTROL in entry


def _is_marked(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    content, calls = message.get("content"), message.get("tool_calls")
    return (
        CACHE_CONTROL in message
        or (isinstance(content, list) and any(map(_has, content)))
        or (isinstance(calls, list) and any(map(_has, calls)))
    )


def _unmarked(message: dict[str, Any], *, parts: bool) -> dict[str, Any]:
    """`message` without its marks, or with only those of its `parts`."""
    made = _without(message)
    content, calls = made.get("content"), made.get("tool_calls")
    if isinstance(content, list) and not parts:
        bare = [_without(part) if _has(part) else part for part in content]
        texts = [part.get("text") for part in bare if isinstance(part, dict) and part.get("type") == "text"]
        plain = len(texts) == len(bare) and all(isinstance(text, str) for text in texts)
        made["content"] = "\n\n".join(map(str, texts)) if plain else bare
    if isinstance(calls, list):
        made["tool_calls"] = [_without(call) if _has(call) else call for call in calls]
    return made


def _without(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != CACHE_CONTROL}
