"""What keeps the beginning of a plain model's request the same from turn to turn, in each dialect that needs it.

Only where a connection says `prompt_cache: true`: bytes that pass through are else not touched.
"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.chat.prompt_cache import SYSTEM_ROLES, cacheable, sorted_tools, without_volatile

CHAT: Final = "chat"
CLAUDE: Final = "claude"
ANTHROPIC: Final = "anthropic"
"""Whose cache it is: one that finds repeated beginnings by itself, one that wants marks (any server that speaks
Anthropic's language), or Anthropic's own."""

_GATEWAY_NAME: Final = "anthropic/claude"
"""How gateways with the chat API (OpenRouter, LiteLLM) call Claude; they pass marks on."""


def whose(api_type: str, api_base: str) -> str:
    """Whose cache a connection has."""
    if api_type != "anthropic":
        return CHAT
    return ANTHROPIC if api_base.startswith("https://api.anthropic.com/") else CLAUDE


def kept_cacheable(document: Mapping[str, Any], dialect: str, cache: str) -> dict[str, Any]:
    """The members to set in a request written in `dialect`, for the cache `cache`."""
    if dialect == "messages":
        from openai_proxy.dialects.messages.cache_marks import cacheable_messages

        return cacheable_messages(document, at_anthropic=cache == ANTHROPIC)
    if dialect == "responses":
        return _responses(document)
    changed, tail = cacheable(document)
    return {**changed, **marks({**document, **changed}, tail, cache)}


def marks(chat: Mapping[str, Any], tail: str, cache: str) -> dict[str, Any]:
    """The members to set in a chat request whose newest user message ends with `tail`, where it is Claude's."""
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
        found: list[str] = []
        left_parts: list[Any] = []
        for part in parts if isinstance(parts, list) else ():
            text = part.get("text") if isinstance(part, dict) else None
            left, moved = without_volatile(text) if isinstance(text, str) else ("", [])
            found += moved
            if left.strip() or not moved:
                left_parts.append({**part, "text": left.strip()} if moved else part)
        lines += found
        if left_parts or not found:
            whole = left_parts[0]["text"] if found and isinstance(content, str) else left_parts
            kept.append({**item, "content": whole} if found else item)
    if lines:
        said = _said_last(kept if isinstance(items, list) else items, "\n".join(lines))
        changed = {**changed, "input": said} if said is not None else {}
    if (tools := sorted_tools(document.get("tools"))) != document.get("tools"):
        changed["tools"] = tools
    return changed


def _said_last(items: Any, text: str) -> Any:
    """`items` with `text` behind the newest user message; None if there is none."""
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
