"""Whose conversation a request belongs to: the one rule, for sessions set by command and for the log.

In this order: the `X-Session-ID` header (or Claude Code's own, `X-Claude-Code-Session-Id`), `metadata.session_id` (or
`metadata.user_id`, Anthropic's), `user`; else the caller with the conversation's first user message and first answer.
What is compared of a message is what survives a client: its text without thoughts and outer space; of an answer that
only calls tools, their names.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.chat.think import without_thoughts


def chosen_id(session_id: str | None, body: Mapping[str, Any]) -> str | None:
    """The id the client itself gave its conversation: `session_id` is its header. None if it gave none."""
    if session_id:
        return session_id
    if "metadata" not in body and "user" not in body:
        return None
    metadata = body.get("metadata")
    members = metadata if isinstance(metadata, dict) else {}
    for value in (members.get("session_id") or members.get("user_id"), body.get("user")):
        if value and isinstance(value, str | int):
            return str(value)
    return None


def comparable(content: Any) -> str:
    """What is compared of a message's `content`: its text, without what clients leave out when they quote it."""
    text = content if isinstance(content, str) else text_of(content)[0]
    return without_thoughts(text).strip()


def call_names(calls: Any) -> str:
    """What is compared of an answer that holds only tool calls: their names (ids do not survive every client)."""
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return "\x1f".join(str(function.get("name")) for function in functions if isinstance(function, dict))


def answer_mark(message: Mapping[str, Any]) -> str:
    """What is compared of an assistant message."""
    return comparable(message.get("content")) or call_names(message.get("tool_calls"))


def mark(*parts: str) -> bytes:
    """One key for `parts`: 16 bytes, the same in every process."""
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
