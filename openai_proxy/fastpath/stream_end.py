"""How a stream of events ends, rightly and wrongly: the same for the direct relay and for the pipeline."""

from typing import Final

import orjson

from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Headers, header

DONE_ENDS: Final = (b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n")
AFTER_DONE: Final = 0.5
"""Seconds a stream may stay open behind its `[DONE]` before we end it for the client."""


def is_event_stream(headers: Headers) -> bool:
    """True for an uncompressed stream of server-sent events."""
    kind = header(headers, b"content-type") or b""
    return kind.lower().startswith(b"text/event-stream") and header(headers, b"content-encoding") is None


def at_boundary(last: bytes) -> bool:
    """True if the bytes so far end between two events."""
    return not last or last.endswith((b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n"))


def error_event(error: ProxyError, path: str) -> bytes:
    """An error as the endpoint's own kind of event: named for messages and responses, a data line for the rest."""
    if path.startswith("/messages"):
        payload = {"type": "error", "error": {"type": error.type, "message": error.message}}
        return b"event: error\ndata: " + orjson.dumps(payload) + b"\n\n"
    if path.startswith("/responses"):
        flat = {"type": "error", "code": error.code, "message": error.message, "param": None}
        return b"event: error\ndata: " + orjson.dumps(flat) + b"\n\n"
    return b"data: " + error.body() + b"\n\n"
