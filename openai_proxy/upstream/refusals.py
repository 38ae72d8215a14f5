"""What an answer says about waiting, quotas and keys: header fields, and the error bodies of OpenAI, Google, Anthropic.

retry-after-ms, Retry-After (seconds or a date)              RFC 9110 §10.2.3
error.details[].retryDelay "12.5s" of google.rpc.RetryInfo   https://ai.google.dev/gemini-api/docs/troubleshooting
error.code "insufficient_quota", error.type "billing_error"  credit used up: waiting seconds will not help
"""

import asyncio
import math
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from openai_proxy.dialects.chat.errors import error_in
from openai_proxy.errors import UpstreamError
from openai_proxy.exchange import Headers, UpstreamResponse
from openai_proxy.protocols.inflate import readable_part

MAX_BODY = 64 * 1024
PATIENCE = 2.0  # seconds for the body of a refusal that may say how long to wait
CURIOSITY = 0.2  # seconds for the body of any other error: it is only shown to the owner
MAX_SAID = 300  # characters of a provider's own words

_TITLE = re.compile(r"<title[^<>]{0,100}>([^<]{1,500})</title", re.IGNORECASE)
_MODERATION = frozenset({"content_filter", "content_policy_violation", "moderation_blocked", "moderation_error"})
_BAD_KEY = frozenset({"invalid_api_key", "invalidapikey", "api_key_invalid"})
_KEY_REFUSED = re.compile(
    r"API key (?:not valid|expired|not found)\. Please (?:pass a valid|renew the) API key\."
    r"|Incorrect API key provided: \S{1,100} You can obtain an API key from https://console\.x\.ai\.?",
    re.IGNORECASE,
)
_NO_MONEY = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "insufficient_credits"})


def retry_after(headers: Headers) -> float | None:
    """Seconds to wait according to the header fields, or None."""
    fields = {name.lower(): value for name, value in headers}
    try:
        if (milliseconds := fields.get(b"retry-after-ms")) is not None:
            return _sane(float(milliseconds) / 1000)
        value = fields.get(b"retry-after")
        if value is None:
            return None
        try:
            return _sane(float(value))
        except ValueError:
            return _sane(parsedate_to_datetime(value.decode("latin-1")).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _sane(seconds: float) -> float | None:
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def body_says(body: bytes) -> tuple[float | None, bool]:
    """The seconds that the error body asks us to wait, None if it does not say, and whether credit is used up."""
    error = _error_in(body)
    return next(_delays(error.get("details")), None), not _NO_MONEY.isdisjoint(_codes(error))


def is_moderation(body: bytes) -> bool:
    """True if a 403 is about the content: says why or quotes it (https://openrouter.ai/docs/api-reference/errors)."""
    error = _error_in(body)
    metadata = error.get("metadata")
    flagged = isinstance(metadata, dict) and bool(metadata.get("reasons") or metadata.get("flagged_input"))
    return flagged or not _MODERATION.isdisjoint(_codes(error))


def is_bad_key(body: bytes) -> bool:
    """True if a 400 refuses the key: Google's, xAI's and others' do not say 401.

    Recognised by a code, or by a message that says only that: others may quote the request, or a model's name.
    """
    error = _error_in(body)
    details = error.get("details")
    message = error.get("message")
    return (
        any(
            isinstance(d, dict) and d.get("reason") == "API_KEY_INVALID"
            for d in details or ()
            if isinstance(details, list)
        )
        or not _BAD_KEY.isdisjoint(_codes(error))
        or (isinstance(message, str) and _KEY_REFUSED.fullmatch(message.strip()) is not None)
    )


def _codes(error: dict[str, Any]) -> set[str]:
    return {found.lower() for name in ("code", "type") if isinstance(found := error.get(name), str)}


def _error_in(body: bytes) -> dict[str, Any]:
    """The error object of an error body: under `error` or `detail`, alone in a list, or the body itself."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(document, list):  # Google's
        document = document[0] if document else None
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document.get("detail"))
    if isinstance(error, dict):
        return error
    return {**document, "message": error} if isinstance(error, str) else document


def message_in(body: bytes) -> str | None:
    """The text of an error body on one line, for the owner; None if it has none. Of a page it is the title."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace")
        page = _TITLE.search(text)
        return _one_line(page[1] if page is not None else "" if "<" in text else text)
    return _one_line(error_in(400, body)["message"])


def _one_line(text: str) -> str | None:
    return " ".join(text[: 4 * MAX_SAID].split())[:MAX_SAID] or None


def _delays(details: Any) -> Iterator[float]:
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            try:
                seconds = _sane(float(delay[:-1]))
            except ValueError:
                continue
            if seconds is not None:
                yield seconds


class PeekedResponse:
    """An answer whose first body bytes were examined; its reader gets them nevertheless."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response
        self._pieces: list[bytes] = []
        self._error: UpstreamError | None = None
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers

    async def begin(self) -> None:
        """Wait for the first piece. Raises the UpstreamError family."""
        self._pieces.append(await self._response.chunk())

    async def peek(self, patience: float = PATIENCE) -> bytes:
        """The body as received within `patience` seconds and MAX_BODY, inflated. The reader gets any failure."""
        size = 0
        try:
            async with asyncio.timeout(patience):
                while size <= MAX_BODY and (piece := await self._response.chunk()):
                    self._pieces.append(piece)
                    size += len(piece)
        except TimeoutError:
            return b""
        except UpstreamError as error:
            self._error = error
        body = b"".join(self._pieces)
        if any(name.lower() == b"content-encoding" for name, _ in self.headers):
            body = readable_part(body, 16 * MAX_BODY)
        return body

    async def chunk(self) -> bytes:
        """See UpstreamResponse."""
        if self._pieces:
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        return await self._response.chunk()

    async def read(self, limit: int) -> bytes:
        """See UpstreamResponse."""
        held = b"".join(self._pieces)
        self._pieces.clear()
        if self._error is not None:
            raise self._error
        return held + await self._response.read(max(limit - len(held), 0))

    def close(self) -> None:
        """See UpstreamResponse."""
        self._response.close()
