"""Answers of Google's endpoint made whole: tool calls get index and id, the finish its reason, errors their shape.

Bytes that need no repair go on as they came; of a stream only the touched events are written anew.
"""

import re
from typing import Any, Final

import orjson

from openai_proxy.dialects.chat.deltas import Pieces, new_call_id
from openai_proxy.dialects.chat.google.signatures import Signatures, signature_of
from openai_proxy.dialects.sse import RawEvents

_DELAY: Final = re.compile(r"(\d+(?:\.\d+)?)s")
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


def unwrap_error(body: bytes) -> tuple[bytes, float | None]:
    """(body in OpenAI's shape, seconds to wait) of an error answer, which may be an array around Google's object.

    A body of any other shape comes back as it is.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body, None
    error = _error_in(document)
    if error is None:
        return body, None
    if isinstance(document, dict) and "type" in error:
        return body, _delay(error)
    return orjson.dumps({"error": _openai_error(error)}), _delay(error)


def _error_in(document: Any) -> dict[str, Any] | None:
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else None


def _openai_error(error: dict[str, Any]) -> dict[str, Any]:
    code = error.get("code")
    status = error.get("status")
    kind = error.get("type") or (_TYPES.get(code, "api_error") if isinstance(code, int) else "api_error")
    made = {"message": str(error.get("message") or "The provider reported an error."), "type": kind, "param": None}
    made["code"] = status.lower() if isinstance(status, str) else code
    return made


def _delay(error: dict[str, Any]) -> float | None:
    """The delay of a `google.rpc.RetryInfo`, which Google writes into the body and not into a header."""
    for detail in error.get("details") or ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("RetryInfo"):
            found = _DELAY.fullmatch(str(detail.get("retryDelay", "")))
            return float(found[1]) if found is not None else None
    return None


def repair_completion(body: bytes, signatures: Signatures) -> bytes:
    """A whole answer with ids for its calls and the right finish; the same bytes if it is sound or no JSON."""
    if b'"tool_calls"' not in body:
        return body
    try:
        document = orjson.loads(body)
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
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return body
    return orjson.dumps(document) if touched else body


class StreamRepair:
    """The state of one stream. `feed` bytes as they come, `end` when they have ended.

    What has come is passed on event by event; the start of an event waits for its end.
    """

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures
        self._events = RawEvents()
        self._choices: dict[int, _Calls] = {}

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, repaired."""
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
            document = orjson.loads(data)
            error = _error_in(document)
            if error is not None:
                sound = isinstance(document, dict) and "type" in error
                return raw if sound else _written({"error": _openai_error(error)})
            touched = [self._choice(choice) for choice in document.get("choices") or ()]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return raw
        return _written(document) if any(touched) else raw

    def _choice(self, choice: dict[str, Any]) -> bool:
        delta = choice.get("delta") or {}
        index = choice.get("index") or 0
        entries = delta.get("tool_calls") or ()
        calls = self._choices.get(index)
        if calls is None and not entries:
            return False
        if calls is None:
            calls = self._choices[index] = _Calls()
        touched = False
        for entry in entries:
            touched = calls.repair(entry) or touched
            self._signatures.put(calls.ids[entry["index"]], entry.get("extra_content"))
        if not entries and signature_of(delta.get("extra_content")) is not None:
            self._signatures.put(calls.ids[-1], delta["extra_content"])  # it came in a delta of its own
        if choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "tool_calls"
            touched = True
        return touched


class _Calls:
    """The tool calls of one choice: a new id or name is a new index, anything else belongs to a call that began."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._places: dict[str, int] = {}  # id -> its first place in ids
        self._names: list[str] = []
        self._arguments: list[Pieces] = []
        self._latest: dict[Any, int] = {}  # the provider's index -> our latest call that had it

    def repair(self, entry: dict[str, Any]) -> bool:
        """Give `entry` the index of its call, and the first of a call an id. True if that changed anything."""
        function = entry.get("function") or {}
        name = function.get("name") or ""
        given, call_id = entry.get("index"), entry.get("id") or ""
        at = self._find(given, call_id, name)
        touched = False
        if at is None:
            at = len(self.ids)
            if not call_id:
                call_id = entry["id"] = new_call_id()
                touched = True
            if entry.get("type") is None:
                entry["type"] = "function"
                touched = True
            if function.get("arguments") is None and isinstance(entry.get("function"), dict):
                entry["function"]["arguments"] = ""
                touched = True
            self._places.setdefault(call_id, at)
            self.ids.append(call_id)
            self._names.append(name)
            self._arguments.append(Pieces())
        if given is not None:
            self._latest[given] = at
        if given != at or isinstance(given, bool):
            entry["index"] = at
            touched = True
        if isinstance(function.get("arguments"), str):
            self._arguments[at].append(function["arguments"])
        return touched

    def _find(self, given: Any, call_id: str, name: str) -> int | None:
        """The call an entry goes on with; None if it begins one."""
        if not self.ids:
            return None
        known = self._latest.get(given, len(self.ids) - 1) if given is not None else len(self.ids) - 1
        if call_id in self._places:
            return self._places[call_id]
        if call_id and name:
            return None
        if name and (given is None or given not in self._latest or self._arguments[known].is_object()):
            return None
        if given is not None and given not in self._latest and (call_id or name):
            return None
        return known


def _written(document: Any) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"
