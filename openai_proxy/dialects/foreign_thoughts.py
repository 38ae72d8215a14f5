"""Removes another provider's reasoning from a request that is passed through: the provider would refuse the request.

A conversation may continue with another model. The reasoning that a client kept of the first one is in our own format
(see `packed_reasoning`) or unsigned, and neither Anthropic nor OpenAI accepts what they did not sign themselves.
"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.packed_reasoning import PREFIXES, is_packed
from openai_proxy.steps import find

DIALECTS: Final = frozenset({"messages", "responses"})
"""Those in which a client returns reasoning."""

_HINTS: Final = (*(b'"' + prefix.encode() for prefix in PREFIXES), b'"signature":""', b'"signature": ""')


def hinted(body: bytes, dialect: str) -> bool:
    """True if `body`, written in `dialect`, may contain such reasoning; without any of the hints it contains none."""
    return dialect in DIALECTS and any(find(body, hint) >= 0 for hint in _HINTS)


def without_foreign(document: Mapping[str, Any], dialect: str) -> dict[str, Any]:
    """The members to set in a request's `document`; empty if it contains nothing of the kind."""
    if dialect == "responses":
        items = document.get("input")
        kept = [item for item in items if not _is_foreign(item, "encrypted_content")] if isinstance(items, list) else []
        return {"input": kept} if isinstance(items, list) and len(kept) < len(items) else {}
    changed = False
    messages: list[Any] = []
    given = document.get("messages")
    for message in given if isinstance(given, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        blocks = [b for b in content if not _is_foreign_block(b)] if isinstance(content, list) else content
        if blocks == content:
            messages.append(message)
            continue
        changed = True
        if blocks:  # a message without content is refused, too
            messages.append({**message, "content": blocks})
    return {"messages": messages} if changed else {}


def _is_foreign(block: Any, member: str) -> bool:
    return isinstance(block, dict) and is_packed(block.get(member))


def _is_foreign_block(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    if block.get("type") == "thinking":
        return not block.get("signature") or is_packed(block["signature"])
    return block.get("type") == "redacted_thinking" and _is_foreign(block, "data")
