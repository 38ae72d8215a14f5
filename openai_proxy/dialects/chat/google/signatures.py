"""Thought signatures, which Gemini 3 and later require with each function call of the current turn.

The compatible endpoint has them in `tool_calls[].extra_content.google.thought_signature`. Most clients drop unknown
members, and the next request is then refused; so they are remembered here by the call's id.
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

import math
import re
from typing import Any, Final

import orjson

from openai_proxy.bounded_map import BoundedMap

SENTINEL: Final = "skip_thought_signature_validator"
"""The documented value for calls with an unknown signature (for example from another model)."""

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
    """`extra_content` by its call's id; the least recently used are dropped first. Bounded in number and bytes."""

    def __init__(self, max_entries: int = _MAX_ENTRIES, max_bytes: int = _MAX_BYTES) -> None:
        self._known: BoundedMap[bytes] = BoundedMap(max_entries=max_entries, max_bytes=max_bytes, ttl=math.inf)

    def __len__(self) -> int:
        return len(self._known)

    def put(self, call_id: Any, extra: Any) -> None:
        """Remember `extra` for the call `call_id`, if it holds a signature."""
        if not isinstance(call_id, str) or not call_id or signature_of(extra) is None:
            return
        data = orjson.dumps(extra)
        self._known.put(call_id, data, len(data))

    def get(self, call_id: Any) -> dict[str, Any] | None:
        """What was remembered for the call `call_id`."""
        data = self._known.get(call_id) if isinstance(call_id, str) else None
        return orjson.loads(data) if data is not None else None
