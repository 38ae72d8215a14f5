"""Repairs answers of Google's endpoint: index and id of tool calls, finish reasons, the shape of errors.

Bytes that need no repair are passed on unchanged; of a stream only the affected events are rewritten.
"""

import re
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.calls import CallFold, new_call_id
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.chat.google.signatures import Signatures, signature_of
from openai_proxy.dialects.sse import RawEvents

_DELAY: Final = re.compile(r"(\d+(?:\.\d+)?)s")


def unwrap_error(body: bytes) -> tuple[bytes, float | None]:
    """(body in OpenAI's shape, seconds to wait) of an error answer, which may be an array around Google's object.

    A body of any other shape is returned unchanged.
    """
    try:
        document = json_text.loads(body)
    except ValueError:
        return body, None
    error = _error_in(document)
    if error is None:
        return body, None
    if isinstance(document, dict) and "type" in error:
        return body, _delay(error)
    return json_text.dumps({"error": _openai_error(error)}), _delay(error)


def _error_in(document: Any) -> dict[str, Any] | None:
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else None


def _openai_error(error: dict[str, Any]) -> dict[str, Any]:
    made = error_of({"error": error}) or {}
    made["message"] = made["message"] or "The provider reported an error."
    return made


def _delay(error: dict[str, Any]) -> float | None:
    """The delay of a `google.rpc.RetryInfo`, which Google puts into the body rather than a header."""
    for detail in error.get("details") or ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("RetryInfo"):
            found = _DELAY.fullmatch(str(detail.get("retryDelay", "")))
            return float(found[1]) if found is not None else None
    return None


def repair_completion(body: bytes, signatures: Signatures) -> bytes:
    """A whole answer with ids for its calls and the right finish; the same bytes if it is fine or not JSON."""
    if b'"tool_calls"' not in body:
        return body
    try:
        document = json_text.loads(body)
        touched = False
        for choice in document["choices"]:
            calls = choice["message"].get("tool_calls") or ()
            for call in calls:
                if not call.get("id"):
                    call["id"] = new_call_id()
                    touched = True
                if call.get("type") is None:
                    call["type"] = "function"
                    touched = True
                signatures.put(call["id"], call.get("extra_content"))
            if calls and choice.get("finish_reason") == "stop":
                choice["finish_reason"] = "tool_calls"
                touched = True
    except (ValueError, KeyError, TypeError, AttributeError):
        return body
    return json_text.dumps(document) if touched else body


_MAX_CHOICES: Final = 128  # choices with repaired calls; the chat API's limit for `n`


class StreamRepair:
    """The state of one stream. `feed` bytes as they arrive, `end` when they have ended.

    Complete events are passed on at once; an incomplete one is held back.
    """

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures
        self._events = RawEvents()
        self._choices: dict[int, CallFold] = {}

    def feed(self, data: bytes) -> bytes:
        """The events completed by `data`, repaired."""
        return b"".join([self._event(raw) for raw in self._events.feed(data)])

    def end(self) -> bytes:
        """The last event, if its end is missing."""
        rest = self._events.rest()
        return self._event(rest) if rest else b""

    def _event(self, raw: bytes) -> bytes:
        waiting = b'"tool_calls"' not in raw and b'"error"' not in raw
        if waiting and (not self._choices or (b'"finish_reason"' not in raw and b'"extra_content"' not in raw)):
            return raw
        lines = [line[5:] for line in raw.splitlines() if line.startswith(b"data:")]
        if not lines:
            return raw
        data = b"\n".join(lines)
        try:
            document = json_text.loads(data)
            error = _error_in(document)
            if error is not None:
                sound = isinstance(document, dict) and "type" in error
                return raw if sound else _written({"error": _openai_error(error)})
            touched = [self._choice(choice) for choice in document.get("choices") or ()]
        except (ValueError, KeyError, TypeError, AttributeError):
            return raw
        return _written(document) if any(touched) else raw

    def _choice(self, choice: dict[str, Any]) -> bool:
        delta = choice.get("delta") or {}
        index = choice.get("index") or 0
        entries = delta.get("tool_calls") or ()
        calls = self._choices.get(index)
        if calls is None and (not entries or len(self._choices) >= _MAX_CHOICES):
            return False
        if calls is None:
            calls = self._choices[index] = CallFold()
        touched = False
        for entry in entries:
            touched = _repair(calls, entry) or touched
            self._signatures.put(calls.id(entry["index"]), entry.get("extra_content"))
        if not entries and signature_of(delta.get("extra_content")) is not None:
            self._signatures.put(calls.id(len(calls) - 1), delta["extra_content"])  # it was in a separate delta
        if choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "tool_calls"
            touched = True
        return touched


def _repair(calls: CallFold, entry: dict[str, Any]) -> bool:
    """Give `entry` the index of its call, and the first of a call an id. True if that changed anything."""
    known = len(calls)
    at = calls.feed(entry)
    repaired: dict[str, Any] = {"index": at}
    if at == known:
        repaired["id"] = calls.id(at)
        repaired["type"] = entry.get("type") or "function"
        function = entry.get("function")
        if isinstance(function, dict) and function.get("arguments") is None:
            repaired["function"] = {**function, "arguments": ""}
    touched = any(entry.get(name) != value for name, value in repaired.items()) or isinstance(entry.get("index"), bool)
    entry.update(repaired)
    return touched


def _written(document: Any) -> bytes:
    return b"data: " + json_text.dumps(document) + b"\n\n"
