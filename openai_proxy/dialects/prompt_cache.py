"""Keeps the beginning of a plain model's request unchanged between turns, in each dialect that needs it.

Only for connections with `prompt_cache: true`: otherwise bytes that pass through are not touched.
"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.chat.prompt_cache import (
    SYSTEM_ROLES,
    cacheable,
    parts_without_volatile,
    sorted_tools,
    without_volatile,
)

CHAT: Final = "chat"
CLAUDE: Final = "claude"
ANTHROPIC: Final = "anthropic"
"""Types of cache: one that recognises repeated beginnings itself, one that needs marks (any server with Anthropic's
API), and Anthropic's own.
"""

_GATEWAY_NAME: Final = "anthropic/claude"
"""How gateways with the chat API (OpenRouter, LiteLLM) name Claude; they forward marks."""


def whose(api_type: str, api_base: str) -> str:
    """The type of a connection's cache."""
    if api_type != "anthropic":
        return CHAT
    return ANTHROPIC if api_base.startswith("https://api.anthropic.com/") else CLAUDE


def kept_cacheable(document: Mapping[str, Any], dialect: str, cache: str) -> dict[str, Any]:
    """The members to set in a request written in `dialect`, for the cache type `cache`."""
    if dialect == "messages":
        from openai_proxy.dialects.messages.cache_marks import cacheable_messages

        return cacheable_messages(document, at_anthropic=cache == ANTHROPIC)
    if dialect == "responses":
        return _responses(document)
    changed, tail = cacheable(document)
    return {**changed, **marks({**document, **changed}, tail, cache)}


def marks(chat: Mapping[str, Any], tail: str, cache: str) -> dict[str, Any]:
    """The members to set in a chat request whose newest user message ends with `tail`, if it is for Claude."""
    gateway = cache == CHAT and _GATEWAY_NAME in str(chat.get("model"))
    if cache == CHAT and not gateway:
        return {}
    from openai_proxy.dialects.messages.cache_marks import marked_chat

    return marked_chat(chat, tail, results=not gateway)


def _responses(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a Responses request: its `instructions`, and the messages among its items."""
    changed: dict[str, Any] = {}
    lines: list[str] = []
    instructions, items = document.get("instructions"), document.get("input")
    if isinstance(instructions, str):
        left, lines = without_volatile(instructions)
        if lines:
            changed["instructions"] = left.strip()
    kept: list[Any] = []
    for item in items if isinstance(items, list) else ():
        content = item.get("content") if isinstance(item, dict) and item.get("role") in SYSTEM_ROLES else None
        parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
        left_parts, found = parts_without_volatile(parts if isinstance(parts, list) else ())
        lines += found
        if left_parts or not found:
            whole = left_parts[0]["text"] if found and isinstance(content, str) else left_parts
            kept.append({**item, "content": whole} if found else item)
    if lines:
        reordered = _with_text(kept if isinstance(items, list) else items, "\n".join(lines))
        changed = {**changed, "input": reordered} if reordered is not None else {}
    if (tools := sorted_tools(document.get("tools"))) != document.get("tools"):
        changed["tools"] = tools
    return changed


def _with_text(items: Any, text: str) -> Any:
    """`items` with `text` appended to the newest user message; None if there is none."""
    if isinstance(items, str):
        return f"{items}\n\n{text}"
    for at in range(len(items) - 1, -1, -1) if isinstance(items, list) else ():
        item = items[at]
        content = item.get("content") if isinstance(item, dict) and item.get("role") == "user" else None
        if isinstance(content, str):
            return [*items[:at], {**item, "content": f"{content}\n\n{text}"}, *items[at + 1 :]]
        if isinstance(content, list):
            added = {**item, "content": [*content, {"type": "input_text", "text": text}]}
            return [*items[:at], added, *items[at + 1 :]]
    return None
