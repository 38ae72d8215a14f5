"""Thought signatures: what Gemini 3 and later want back with each function call of the current turn.

On the compatible wire they stand in `tool_calls[].extra_content.google.thought_signature`. Most clients drop what they
do not know, and then the next request is refused; so they are remembered here by the call's id.
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

import re
from collections import OrderedDict
from typing import Any, Final

import orjson

SENTINEL: Final = "skip_thought_signature_validator"
"""The documented value for calls whose signature is not known (a history from another model, for one)."""

_MAX_ENTRIES: Final = 4096
_MAX_BYTES: Final = 8 << 20  # a signature has 1 to 5 kB
_WITHOUT: Final = re.compile(r"gemini-[12](\D|$)")


def needs_signatures(model: str) -> bool:
    """Whether `model` refuses calls without a signature: every Gemini but generations 1 and 2."""
    name = model.removeprefix("models/")
    return name.startswith("gemini") and _WITHOUT.match(name) is None


def signature_of(extra: Any) -> str | None:
    """The signature in an `extra_content`."""
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


class Signatures:
    """`extra_content` by the id of its call; the least recently used go first. Bounded in number and bytes."""

    def __init__(self, max_entries: int = _MAX_ENTRIES, max_bytes: int = _MAX_BYTES) -> None:
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def put(self, call_id: Any, extra: Any) -> None:
        """Remember `extra`, if it holds a signature, for the call `call_id`."""
        if not isinstance(call_id, str) or not call_id or signature_of(extra) is None:
            return
        data = orjson.dumps(extra)
        if len(data) > self._max_bytes:
            return
        self._bytes += len(data) - len(self._known.pop(call_id, b""))
        self._known[call_id] = data
        while len(self._known) > self._max_entries or self._bytes > self._max_bytes:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest)

    def get(self, call_id: Any) -> dict[str, Any] | None:
        """What was remembered for the call `call_id`."""
        data = self._known.get(call_id) if isinstance(call_id, str) else None
        if data is None:
            return None
        self._known.move_to_end(call_id)
        extra: dict[str, Any] = orjson.loads(data)
        return extra
