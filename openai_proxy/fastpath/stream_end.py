"""How an event stream ends, properly or not: the same for the direct relay and the pipeline."""

from typing import Final

from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Headers, header

DONE_ENDS: Final = (b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n")
AFTER_DONE: Final = 0.5
"""Seconds that a stream may stay open after its `[DONE]` before we end it for the client."""


def is_event_stream(headers: Headers) -> bool:
    """True for an uncompressed stream of server-sent events."""
    kind = header(headers, b"content-type") or b""
    return kind.lower().startswith(b"text/event-stream") and header(headers, b"content-encoding") is None


def at_boundary(last: bytes) -> bool:
    """True if the bytes so far end between two events."""
    return not last or last.endswith((b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n"))


def error_event(error: ProxyError, path: str) -> bytes:
    """An error as the endpoint's own kind of event, for a stream begun by a provider."""
    if path.startswith("/messages"):  # imported here: few daemons use all three
        from openai_proxy.dialects.messages.write_answer import error_event as write
    elif path.startswith("/responses"):
        from openai_proxy.dialects.responses.write_answer import error_event as write
    else:
        from openai_proxy.dialects.chat.chunks import error_event as write
    return write(error.payload()["error"])
