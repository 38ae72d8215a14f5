"""Removes another provider's reasoning from a request that is passed through: the provider would refuse the request.

A conversation may continue with another model. The reasoning that a client kept of the first one is in our own format
(see `packed_reasoning`) or unsigned, and neither Anthropic nor OpenAI accepts what they did not sign themselves.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.packed_reasoning import PREFIXES, is_packed
from openai_proxy.steps import STEP, find

DIALECTS: Final = frozenset({"messages", "responses"})
"""Those in which a client returns reasoning."""

_PACKED: Final = tuple(b'"' + prefix.encode() for prefix in PREFIXES)

_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_THINKING: Final = rb'\s*,\s*"thinking"\s*:\s*' + _STRING
_TYPE: Final = re.compile(rb'"type"\s*:\s*\Z')
_SIGNED_AFTER: Final = re.compile(rb'(?:%b)?\s*,\s*"signature"\s*:\s*"[^"]' % _THINKING)
_SIGNED_BEFORE: Final = re.compile(rb'"signature"\s*:\s*(?!"")%b(?:%b)?\s*,\s*"type"\s*:\s*' % (_STRING, _THINKING))
"""What follows, or comes before, the type of a thinking block with a signature, in any order of its members."""

_TEXT: Final = b',"thinking":"'
_SIGNATURE: Final = b'","signature":"'
_BLOCK_ENDS: Final = re.compile(rb'"\s*\}')

_MANY: Final = 2000
"""Occurrences of the word that are looked at: reading the document costs less than looking at more."""


def hinted(body: bytes, dialect: str) -> bool:
    """True if `body`, written in `dialect`, may contain such reasoning; otherwise it contains none."""
    if dialect not in DIALECTS:
        return False
    return any(find(body, hint) >= 0 for hint in _PACKED) or (dialect == "messages" and _may_be_unsigned(body))


def _may_be_unsigned(body: bytes) -> bool:
    """True if `body` has a thinking block without a signature, or one that cannot be judged by its bytes."""
    word = b'"thinking"'
    before = 0
    at = find(body, word)
    for _ in range(_MANY):
        if at < 0:
            return False
        end = at + len(word)
        if _TYPE.search(body, max(at - 16, 0), at):
            # In a large body a single expression could keep the interpreter lock for long.
            if len(body) > STEP or not (_is_signed_after(body, end) or _is_signed_before(body, before, at)):
                return True
            before = end
        at = find(body, word, end)
    return True


def _is_signed_after(body: bytes, start: int) -> bool:
    """True if the members of a block that come after its type, at `start`, contain a signature."""
    if body.startswith(_TEXT, start):
        # Written as usual, it is found several times as fast. A bare quote, such as one after a comma, is in no string.
        text = start + len(_TEXT)
        end = body.find(b'","', text)
        value = end + len(_SIGNATURE)
        if (
            body.startswith(_SIGNATURE, max(end, 0))
            and body[value : value + 1] != b'"'
            and _BLOCK_ENDS.search(body, text - 1, end + 1) is None
        ):
            return True
    return _SIGNED_AFTER.match(body, start) is not None


def _is_signed_before(body: bytes, start: int, end: int) -> bool:
    """True if the members of a block that come before its type, which ends `body[start:end]`, contain a signature."""
    at = body.rfind(b'"signature"', start, end)
    return at >= 0 and _SIGNED_BEFORE.fullmatch(body, at, end) is not None


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
