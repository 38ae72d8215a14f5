"""What a model thought before its calls, for clients that do not send it back.

A chat client returns a call and its result and drops what it does not know. Without its reasoning the model is asked
to go on from calls it cannot explain: it answers, only worse. So the items are remembered here by the ids of the calls.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import orjson

from openai_proxy.dialects.responses.reasoning import FORMAT

_MAX_ENTRIES: Final = 1024
_MAX_BYTES: Final = 8 << 20  # the reasoning of one turn has 1 to 10 kB


class ReasoningMemory:
    """`reasoning_details` by the model and the first call of their message; the least recently used go first."""

    def __init__(self, max_entries: int = _MAX_ENTRIES, max_bytes: int = _MAX_BYTES) -> None:
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, model: str, call_ids: Sequence[str], details: Sequence[dict[str, Any]]) -> None:
        """Remember what `model` thought in a turn that has made these calls."""
        data = orjson.dumps(details)
        if not call_ids or not details or len(data) > self._max_bytes:
            return
        for call_id in call_ids:
            self._bytes += len(data) - len(self._known.pop((model, call_id), b""))
            self._known[model, call_id] = data
        while len(self._known) > self._max_entries or self._bytes > self._max_bytes:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest)

    def restored(self, chat: dict[str, Any]) -> dict[str, Any]:
        """`chat` with the reasoning put back in front of calls that have come without it."""
        messages = chat.get("messages")
        if not self._known or not isinstance(messages, list):
            return chat
        made = [self._message(str(chat.get("model")), message) for message in messages]
        return {**chat, "messages": made}

    def forget(self, chat: dict[str, Any]) -> None:
        """Forget the reasoning before every call in `chat`."""
        for message in chat.get("messages") or ():
            for call_id in _call_ids(message):
                self._bytes -= len(self._known.pop((str(chat.get("model")), call_id), b""))

    def _message(self, model: str, message: Any) -> Any:
        call_ids = _call_ids(message)
        if not call_ids or _has_reasoning(message):
            return message
        # Clients may leave out calls, never the order: the first one that is known tells the turn.
        for call_id in call_ids:
            data = self._known.get((model, call_id))
            if data is not None:
                self._known.move_to_end((model, call_id))
                return {**message, "reasoning_details": orjson.loads(data)}
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
    """`chat` for a provider that is asked by another API: itself, unless a message holds something of this one.

    Chat servers refuse members of a message that they do not know, or waste tokens on them.
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
