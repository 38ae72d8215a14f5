"""Where a request may have a client's key: one answer for the gate, redaction and the fast path."""

from collections.abc import Mapping
from typing import Final

GOOGLE_KEY: Final = "x-goog-api-key"
"""Where Google's clients put it (https://ai.google.dev/gemini-api/docs/api-key), or in the query as `key`."""

KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""How a browser, which cannot set headers on a WebSocket, sends its key: as a subprotocol with this prefix
(https://platform.openai.com/docs/guides/realtime-websocket).
"""


USER_FIELDS: Final = ("X-OpenWebUI-User-Email", "X-OpenWebUI-User-Name", "X-OpenWebUI-User-Id")
"""Where Open WebUI names the person, if ENABLE_FORWARD_USER_INFO_HEADERS is set
(https://docs.openwebui.com/reference/env-configuration)."""

AGENT_FIELD: Final = "X-Claude-Code-Agent-Id"
"""Where Claude Code names the agent that sends the request."""


def named_user(headers: Mapping[str, str]) -> str | None:
    """The end user that the header fields name."""
    return next((value for name in USER_FIELDS if (value := headers.get(name))), None)


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer` value (RFC 6750 §2.1), or None."""
    if authorization is not None and authorization[:7].lower() == "bearer ":
        return authorization[7:].strip() or None
    return None


def sent_key(headers: Mapping[str, str]) -> str | None:
    """The key that a client sent, valid or not: Bearer wins over `x-api-key`, and both over Google's header."""
    return bearer(headers.get("Authorization")) or other_key(headers)


def other_key(headers: Mapping[str, str]) -> str | None:
    """The key that a client sent anywhere but in `Authorization`."""
    found = headers.get("x-api-key")
    if found is None:
        found = headers.get(GOOGLE_KEY)
    if found is not None:
        return found or None
    protocols = headers.get("Sec-WebSocket-Protocol")
    return protocol_key(protocols) if protocols is not None else None


def protocol_key(protocols: str) -> str | None:
    """The key among the subprotocols of a WebSocket handshake."""
    for part in protocols.split(","):
        name = part.strip()
        if name[: len(KEY_PROTOCOL)].lower() == KEY_PROTOCOL:
            return name[len(KEY_PROTOCOL) :] or None
    return None
