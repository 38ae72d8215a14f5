"""Which header fields a proxy passes on, and how heads are written."""

from collections.abc import Iterable
from typing import Any

from aiohttp.web_request import BaseRequest

from openai_proxy.exchange import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""RFC 9110 §7.6.1, and the fields that older proxies added."""

_NOT_UPSTREAM = HOP_BY_HOP | {
    b"host", b"content-length", b"expect", b"cookie", b"cookie2", b"authorization", b"x-api-key", b"api-key",
    b"x-goog-api-key",
    b"forwarded", b"x-real-ip", b"x-forwarded", b"via",
}  # fmt: skip
_NOT_DOWNSTREAM = HOP_BY_HOP | {b"set-cookie", b"set-cookie2", b"alt-svc", b"content-length"}

_is_sent_upstream: dict[bytes, bool] = {}
"""Field name as written -> whether it is sent upstream. Names come from clients: bounded below."""


def upstream_fields(raw: Headers) -> list[tuple[bytes, bytes]]:
    """The client's fields for a provider: not Host, hop-by-hop fields, cookies, forwarding fields or keys."""
    kept = []
    options: set[bytes] | None = None
    for field in raw:
        name = field[0]
        is_sent = _is_sent_upstream.get(name)
        if is_sent is None:
            is_sent = _judge(name)
        if is_sent:
            kept.append(field)
        elif name.lower() == b"connection" and field[1].lower() not in (b"keep-alive", b"close"):
            options = (options or set()) | {token.strip().lower() for token in field[1].split(b",")}
    if options:
        kept = [field for field in kept if field[0].lower() not in options]
    return kept


def _judge(name: bytes) -> bool:
    lower = name.lower()
    is_sent = lower not in _NOT_UPSTREAM and not lower.startswith((b"x-forwarded-", b"proxy-"))
    if len(_is_sent_upstream) < 4096:
        _is_sent_upstream[name] = is_sent
    return is_sent


def downstream_fields(fields: Headers) -> list[tuple[bytes, bytes]]:
    """A provider's fields for a client: not hop-by-hop ones, cookies, CORS permissions, Alt-Svc."""
    named: set[bytes] = set()
    for name, value in fields:
        if name.lower() == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return [
        (name, value)
        for name, value in fields
        if (lower := name.lower()) not in _NOT_DOWNSTREAM
        and lower not in named
        and not lower.startswith(b"access-control-")
    ]


def head_size(message: Any) -> int:
    """The approximate bytes of a request's head on the wire, from a message parsed by aiohttp, or its request."""
    target = getattr(message, "raw_path", None) or message.path
    return len(target) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)


def clean(value: str) -> str:
    """A header value from outside, safe to write: without control characters and line ends."""
    return value if value.isprintable() else "".join(c for c in value if c >= " " and c != "\x7f")


def lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header lines of our own; what a client sent is returned in its original bytes, whatever they are."""
    text = "".join(f"{name}: {clean(value)}\r\n" for name, value in fields)
    try:
        return text.encode("utf-8", "surrogateescape")  # as aiohttp reads them
    except UnicodeEncodeError:  # half a character, out of JSON
        return text.encode("utf-8", "replace")


def wire_lines(fields: Headers) -> bytes:
    """Header lines unchanged."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def is_upgrade(request: BaseRequest) -> bool:
    """True for a WebSocket handshake (RFC 6455 §4.1)."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"
