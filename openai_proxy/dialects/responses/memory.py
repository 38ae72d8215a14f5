"""A model's reasoning before its calls, remembered for clients that do not return it.

A chat client returns a call and its result and drops unknown members. Without its reasoning the model must continue
from calls it cannot explain, and answers worse. So the items are remembered here by the ids of the calls.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from openai_proxy.bounded_map import BoundedMap
from openai_proxy.dialects import json_text
from openai_proxy.dialects.responses.reasoning import FORMAT

_MAX_ENTRIES: Final = 1024
_MAX_BYTES: Final = 8 << 20  # one turn's reasoning has 1 to 10 kB


class ReasoningMemory:
    """`reasoning_details` by model and first call of their message; the least recently used are dropped first."""

    def __init__(self, max_entries: int = _MAX_ENTRIES, max_bytes: int = _MAX_BYTES) -> None:
        self._known: BoundedMap[bytes] = BoundedMap(max_entries=max_entries, max_bytes=max_bytes, ttl=math.inf)

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, model: str, call_ids: Sequence[str], details: Sequence[dict[str, Any]]) -> None:
        """Remember the reasoning of `model` in a turn with these calls."""
        data = json_text.dumps(details)
        for call_id in call_ids if details else ():
            self._known.put((model, call_id), data, len(data))

    def restored(self, chat: dict[str, Any]) -> dict[str, Any]:
        """`chat` with the reasoning restored before calls that lack it."""
        messages = chat.get("messages")
        if not self._known or not isinstance(messages, list):
            return chat
        made = [self._message(str(chat.get("model")), message) for message in messages]
        return {**chat, "messages": made}

    def forget(self, chat: dict[str, Any]) -> None:
        """Forget the reasoning before all calls in `chat`."""
        for message in chat.get("messages") or ():
            for call_id in _call_ids(message):
                self._known.pop((str(chat.get("model")), call_id))

    def _message(self, model: str, message: Any) -> Any:
        call_ids = _call_ids(message)
        if not call_ids or _has_reasoning(message):
            return message
        # Clients may leave out calls, but keep their order: the first known one identifies the turn.
        for call_id in call_ids:
            data = self._known.get((model, call_id))
            if data is not None:
                return {**message, "reasoning_details": json_text.loads(data)}
        return message


def without_reasoning(chat: dict[str, Any]) -> dict[str, Any]:
    """`chat` without the items that only their provider can read."""
    messages = [
        {name: value for name, value in message.items() if name != "reasoning_details"}
        if isinstance(message, dict)
        else message
        for message in chat["messages"]
    ]
    return {**chat, "messages": messages}


def without_items(chat: dict[str, Any]) -> dict[str, Any]:
    """`chat` for a provider with another API: itself, unless a message holds something of this one.

    Chat servers refuse unknown members of a message, or waste tokens on them.
    """
    messages = chat.get("messages")
    if not isinstance(messages, list) or not any(map(_has_items, messages)):
        return chat
    return {**chat, "messages": [_without_items(message) if _has_items(message) else message for message in messages]}


def _has_items(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and message.get("role") == "assistant"
        and ("phase" in message or _has_reasoning(message))
    )


def _without_items(message: dict[str, Any]) -> dict[str, Any]:
    details = message.get("reasoning_details") or ()
    others = [d for d in details if not (isinstance(d, dict) and str(d.get("format") or "").startswith(FORMAT))]
    left = {name: value for name, value in message.items() if name not in ("phase", "reasoning_details")}
    return {**left, "reasoning_details": others} if others else left


def _call_ids(message: Any) -> list[str]:
    calls = message.get("tool_calls") if isinstance(message, dict) and message.get("role") == "assistant" else None
    ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return [call_id for call_id in ids if isinstance(call_id, str)]


def _has_reasoning(message: dict[str, Any]) -> bool:
    details = message.get("reasoning_details")
    return isinstance(details, list) and any(
        isinstance(detail, dict) and str(detail.get("format") or "").startswith(FORMAT) for detail in details
    )
