"""What an answer says about waiting, quotas and keys: header fields, and the error bodies of OpenAI, Google, Anthropic.

retry-after-ms, Retry-After (seconds or a date)              RFC 9110 §10.2.3
error.details[].retryDelay "12.5s" of google.rpc.RetryInfo   https://ai.google.dev/gemini-api/docs/troubleshooting
error.code "insufficient_quota", error.type "billing_error"  no money: waiting seconds will not help
"""

import asyncio
import math
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from openai_proxy.errors import UpstreamAuthError, UpstreamError, UpstreamInvalid, UpstreamRedirect
from openai_proxy.exchange import Headers, UpstreamResponse
from openai_proxy.protocols.inflate import readable_part

MAX_BODY = 64 * 1024
PATIENCE = 2.0  # seconds for the body of a refusal that may say how long to wait
CURIOSITY = 0.2  # seconds for the body of any other: it is only told to the owner
MAX_SAID = 300  # characters of a provider's own words

_TITLE = re.compile(r"<title[^<>]{0,100}>([^<]{1,500})</title", re.IGNORECASE)
_MODERATION = frozenset({"content_filter", "content_policy_violation", "moderation_blocked", "moderation_error"})
_NO_MONEY = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "insufficient_credits"})


def retry_after(headers: Headers) -> float | None:
    """Seconds the header fields ask to wait, or None."""
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
    """Seconds the error body asks to wait (None: says nothing), and whether it is for want of money."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, False
    if isinstance(document, list):  # Google's streams
        document = document[0] if document else None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return None, False
    money = not _NO_MONEY.isdisjoint(x for x in (error.get("code"), error.get("type")) if isinstance(x, str))
    return next(_delays(error.get("details")), None), money


def is_moderation(body: bytes) -> bool:
    """True if a 403 is about what was said: it says why, or quotes it (https://openrouter.ai/docs/api-reference/errors)."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return False
    metadata = error.get("metadata")
    flagged = isinstance(metadata, dict) and bool(metadata.get("reasons") or metadata.get("flagged_input"))
    return flagged or error.get("code") in _MODERATION or error.get("type") in _MODERATION


def said(body: bytes) -> str | None:
    """What an error body says, in one line for the owner; None if that cannot be told.

    Understands `error.message`, `message` and `detail` (OpenAI, Anthropic, Google, FastAPI) and the title of a page.
    """
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace")
        page = _TITLE.search(text)
        return _one_line(page[1] if page is not None else "" if "<" in text else text)
    for _ in range(4):
        if isinstance(found, list):
            found = found[0] if found else None
        if not isinstance(found, dict):
            break
        found = next((found[name] for name in ("error", "message", "detail", "msg") if found.get(name)), None)
    return _one_line(found) if isinstance(found, str) else None


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


async def must_list(connection: str, response: UpstreamResponse) -> None:
    """Raise, with what the provider says, unless `response` to a question for models is a 200."""
    status = response.status
    if status == 200:
        return
    if 300 <= status < 400:
        where = next((v.decode("latin-1") for k, v in response.headers if k.lower() == b"location"), "elsewhere")
        raise UpstreamRedirect(
            f"The connection '{connection}' redirects elsewhere; its address is probably wrong.",
            cause=f"redirects to {where[:200]} (HTTP {status}); set api_base to where it leads",
        )
    words = said(await Peeked(response).peek(CURIOSITY))
    cause = f"HTTP {status}{f': {words}' if words else ''}"
    if status in (401, 403):
        raise UpstreamAuthError(f"The connection '{connection}' refused its key.", cause=f"refused its key ({cause})")
    raise UpstreamInvalid(
        f"The connection '{connection}' gave no model list (status {status}).",
        code="upstream_no_list" if status in (404, 405, 501) else None,
        cause=f"no model list ({cause})",
    )


class Peeked:
    """An answer whose first body bytes were looked at: whoever reads it gets them all the same."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response
        self._pieces: list[bytes] = []
        self._error: UpstreamError | None = None
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers

    async def peek(self, patience: float = PATIENCE) -> bytes:
        """The body as far as it comes within `patience` seconds and MAX_BODY, inflated. What fails here fails the
        reader."""
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
