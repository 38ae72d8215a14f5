"""Marks for Anthropic's prompt cache, which stores only what a request marks.

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching: at most four marks; each stores the whole beginning
up to it (tools, system, messages), and a later request finds it within 20 blocks before one of its own marks. Marked
are the end of the system message, the newest user message before its changing part, and a tool result after that, so
that rounds of tool calls extend the cache. A client's own marks are left alone.
"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.chat.prompt_cache import BREAK, SYSTEM_ROLES, parts_without_volatile, sorted_tools

_MARK: Final = {"type": "ephemeral"}
_MEMBER: Final = "cache_control"
_ATTRIBUTION: Final = "x-anthropic-billing-header:"


def is_attribution(block: object) -> bool:
    """True for the system block with which Claude Code identifies itself; it differs between conversations."""
    return isinstance(block, dict) and str(block.get("text") or "").startswith(_ATTRIBUTION)


def marked_chat(chat: Mapping[str, Any], tail: str = "", *, results: bool = True) -> dict[str, Any]:
    """The members to set in a chat request for Claude so that its beginning is cached.

    `tail` is the end of its newest user message that changes every turn; `results`: whether tool messages may be
    marked, which gateways with the chat API do not accept.
    """
    given = chat.get("messages")
    if not isinstance(given, list) or not all(isinstance(message, dict) for message in given) or _has_marks(chat):
        return {}
    messages = list(given)
    system = max((at for at, m in enumerate(messages) if m.get("role") in SYSTEM_ROLES), default=-1)
    user = max((at for at, m in enumerate(messages) if m.get("role") == "user"), default=-1)
    if system >= 0:
        messages[system] = _marked(messages[system], "")
    if user >= 0:
        messages[user] = _marked(messages[user], tail)
    if results and len(messages) - 1 > user and messages[-1].get("role") == "tool":
        messages[-1] = {**messages[-1], _MEMBER: _MARK}
    return {"messages": messages} if messages != given else {}


def cacheable_messages(document: Mapping[str, Any], *, at_anthropic: bool) -> dict[str, Any]:
    """The members to set in a client's Messages request so that its beginning stays the same and is cached.

    Claude Code's attribution stays first if the server is Anthropic's own, which recognises it.
    """
    system, turns = document.get("system"), document.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return {}
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
    fixed: list[Any] = []
    tail: list[dict[str, Any]] = []
    for block in blocks if isinstance(blocks, list) else ():
        if is_attribution(block) and not at_anthropic:
            tail.append({"type": "text", "text": block["text"]})
            continue
        kept, lines = parts_without_volatile((block,))
        fixed += kept
        if lines:
            tail.append({"type": "text", "text": "\n".join(lines)})
    marks = not _has_marks(document)
    newest = max((at for at, turn in enumerate(turns) if turn.get("role") == "user"), default=-1)
    if newest < 0:
        return {}
    changed: dict[str, Any] = {}
    if marks and fixed and isinstance(fixed[-1], dict):
        fixed[-1] = {**fixed[-1], _MEMBER: _MARK}
    if fixed != blocks and isinstance(blocks, list):
        changed["system"] = fixed
    content = turns[newest].get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if isinstance(parts, list) and (tail or marks):
        if marks and parts and isinstance(parts[-1], dict):
            parts = [*parts[:-1], {**parts[-1], _MEMBER: _MARK}]
        changed["messages"] = [*turns[:newest], {**turns[newest], "content": [*parts, *tail]}, *turns[newest + 1 :]]
    if (tools := sorted_tools(document.get("tools"))) != document.get("tools"):
        changed["tools"] = tools
    return changed


def _has_marks(request: Mapping[str, Any]) -> bool:
    """True if the client has set marks in its request."""
    if request.get(_MEMBER):
        return True
    members = (request.get("system"), request.get("tools"), request.get("messages"))
    return any(_is_marked(entry) for member in members if isinstance(member, list) for entry in member)


def _is_marked(entry: object) -> bool:
    if not isinstance(entry, Mapping):
        return False
    inner, content = entry.get("function"), entry.get("content")
    return bool(
        entry.get(_MEMBER)
        or (isinstance(inner, Mapping) and inner.get(_MEMBER))
        or (isinstance(content, list) and any(isinstance(part, Mapping) and part.get(_MEMBER) for part in content))
    )


def _marked(message: dict[str, Any], tail: str) -> dict[str, Any]:
    """`message` with a mark at its end, but before `tail`."""
    content = message.get("content")
    if isinstance(content, str):
        text, ends_so, rest = content, False, ""
        if tail and content.endswith(f"{BREAK}{tail}"):
            text, ends_so, rest = content[: -len(tail) - len(BREAK)], True, tail
        parts: list[Any] = [{"type": "text", "text": text}]
        parts += [{"type": "text", "text": rest}] if ends_so else []
    elif isinstance(content, list):
        parts = list(content)
        ends_so = bool(tail and parts and isinstance(parts[-1], Mapping) and parts[-1].get("text") == tail)
    else:
        return message
    at = len(parts) - (2 if ends_so else 1)
    part = parts[at] if at >= 0 else None
    if not isinstance(part, dict) or (part.get("type") == "text" and not str(part.get("text")).strip()):
        return message  # an empty text cannot be marked
    parts[at] = {**part, _MEMBER: _MARK}
    return {**message, "content": parts}
