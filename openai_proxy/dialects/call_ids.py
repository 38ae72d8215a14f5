"""Ids of tool calls for providers with strict rules: the ids may come from another provider's answer."""

from hashlib import blake2b
from typing import Any, Final

CALL_ID: Final = "tool_call_id"
"""The name under which a lesson stores the required length of an id."""

_EXACT: Final = 16
"""Limits up to this are Mistral's: exactly that many letters and digits."""


def fit_call_ids(messages: Any, length: int) -> list[Any] | None:
    """`messages` with ids of at most `length` characters, as the provider requires; None if they all fit.

    A call and its result get the same id, and later requests get the same ids again.
    """
    if not isinstance(messages, list):
        return None
    made = [_message(message, length) for message in messages]
    return made if made != messages else None


def _message(message: Any, length: int) -> Any:
    if not isinstance(message, dict):
        return message
    calls, answered = message.get("tool_calls"), message.get(CALL_ID)
    changed: dict[str, Any] = {}
    if isinstance(answered, str):
        changed[CALL_ID] = _fit(answered, length)
    if isinstance(calls, list):
        changed["tool_calls"] = [
            {**call, "id": _fit(call["id"], length)}
            if isinstance(call, dict) and isinstance(call.get("id"), str)
            else call
            for call in calls
        ]
    return {**message, **changed} if changed else message


def _fit(call_id: str, length: int) -> str:
    exact = length < _EXACT
    if call_id.isascii() and call_id.isalnum() and len(call_id) == length if exact else len(call_id) <= length:
        return call_id
    return blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()[:length]
