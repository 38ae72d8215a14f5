"""Decides which conversation a request belongs to, for sessions set by command and for the log.

In this order: the `X-Session-ID` header (or Claude Code's own, `X-Claude-Code-Session-Id`), `metadata.session_id` (or
`metadata.user_id`, Anthropic's), `user`; else the caller together with the conversation's first user message and first
answer. Messages are compared by what clients preserve: the text without reasoning and outer space, or the tool names of
an answer that only calls tools.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.chat.think import without_thoughts
from openai_proxy.steps import add_text, strip

_LONG: Final = 1 << 16  # characters


def chosen_id(session_id: str | None, body: dict[str, Any]) -> str | None:
    """The id that the client gave its conversation: `session_id` is its header. None if it gave none."""
    if session_id:
        return session_id
    if "metadata" in body and isinstance(metadata := body["metadata"], dict):
        found = _as_id(metadata.get("session_id") or metadata.get("user_id"))
        if found is not None:
            return found
    return _as_id(body.get("user"))


def _as_id(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value) or None
    return str(value) if value and isinstance(value, int) else None


def comparable(content: Any) -> str:
    """The part of a message's `content` that is compared: its text, without what clients omit when they return it."""
    text = content if isinstance(content, str) else text_of(content)[0]
    return strip(without_thoughts(text))


def call_names(calls: Any) -> str:
    """The part that is compared of an answer with only tool calls: their names (not every client preserves ids)."""
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return "\x1f".join(str(function.get("name")) for function in functions if isinstance(function, dict))


def answer_mark(message: Mapping[str, Any]) -> str:
    """The part of an assistant message that is compared."""
    return comparable(message.get("content")) or call_names(message.get("tool_calls"))


def mark(*parts: str) -> bytes:
    """One key for `parts`: 16 bytes, the same in every process."""
    return blake2b(repr(tuple(map(short, parts))).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def short(text: str) -> str:
    """Replace a long text by its digest: the `repr` of megabytes takes as long as the rest of a request."""
    if len(text) <= _LONG:
        return text
    digest = blake2b()
    add_text(digest, text)
    return digest.hexdigest()
