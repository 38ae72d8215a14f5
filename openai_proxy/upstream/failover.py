"""Trying again: the same target, the next key, the next target — until one answers, and only before the first byte.

    signal                                    same target again        next target     endpoints
    408, 409, 429, 5xx answered               up to max_retries        then            any whose body can be sent again
    DNS, refused, TLS, connect timeout        no                       yes             any (nothing was sent)
    break or timeout with the body sent       no                       yes             chat, completions, embeddings
    any other answer                          it is the answer

A body that is being streamed can be sent once, so it is never tried again after its first byte went out.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from openai_proxy.errors import ProxyError, UpstreamError, UpstreamTLSError, UpstreamUnreachable
from openai_proxy.exchange import Attempt, Exchange, Target, UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.openai import REPLAYABLE_PATHS
from openai_proxy.upstream.provider import Provider

RETRYABLE = frozenset({408, 409, 429, *range(500, 600)})
MAX_WAIT = 10.0  # seconds of Retry-After a waiting person is asked to bear
FIRST_PAUSE = 0.5
MAX_PAUSE = 8.0

MakeRequest = Callable[[Target], UpstreamRequest]


@dataclass(slots=True)
class Opened:
    """An answer, and whose it is."""

    response: UpstreamResponse
    provider: Provider
    target: Target
    key: str | None


async def open_first(
    targets: tuple[Target, ...],
    make: MakeRequest,
    providers: Mapping[str, Provider],
    retries: Mapping[str, int],
    keys: Mapping[str, tuple[str, ...]],
    exchange: Exchange,
    first: Opened | None = None,
    failed: UpstreamError | None = None,
) -> Opened:
    """Ask `targets` in turn until one gives an answer that stands.

    `make` shapes the request for a target; `retries` is `max_retries` by connection, `keys` its keys. `first` is an
    answer that has come already, `failed` what came instead of one (either's attempt is on `exchange`).
    Raises the last UpstreamError where nothing answered.
    """
    last: UpstreamError | None = None
    kept: Opened | None = None
    for number, target in enumerate(targets):
        more = number + 1 < len(targets)
        left = retries.get(target.connection, 0)
        pause = FIRST_PAUSE
        while True:
            if first is not None:
                opened, first = first, None
                request = make(target)
            else:
                request = make(target)
                exchange.state = "waiting"
                try:
                    if failed is not None:
                        error, failed = failed, None
                        raise error
                    opened = await _ask(target, request, providers, keys, exchange)
                except UpstreamError as error:
                    last = error
                    if not _may_move_on(error, request, exchange):
                        raise
                    break
            if opened.response.status not in RETRYABLE or not _sendable_again(request):
                return _instead_of(kept, opened)
            if kept is not None:
                kept.response.close()
            kept = opened
            wait = _retry_after(opened.response)
            if left <= 0 or (wait is not None and wait > MAX_WAIT):
                if more:
                    break
                return opened
            left -= 1
            await asyncio.sleep(wait if wait is not None else pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, MAX_PAUSE)
    if kept is not None:
        return kept
    assert last is not None
    raise last


def _instead_of(kept: Opened | None, opened: Opened) -> Opened:
    if kept is not None and kept is not opened:
        kept.response.close()
    return opened


async def _ask(
    target: Target,
    request: UpstreamRequest,
    providers: Mapping[str, Provider],
    keys: Mapping[str, tuple[str, ...]],
    exchange: Exchange,
) -> Opened:
    provider = providers[target.connection]
    available = keys.get(target.connection, ())
    key = available[0] if available else None
    attempt = Attempt(target)
    exchange.attempts.append(attempt)
    exchange.connection = target.connection
    exchange.upstream_model = target.model or exchange.model
    started = time.monotonic()
    try:
        response = await provider.send(request, key)
    except ProxyError as error:
        attempt.error = error.code
        raise
    finally:
        attempt.duration = time.monotonic() - started
    attempt.status = response.status
    return Opened(response, provider, target, key)


def _sendable_again(request: UpstreamRequest) -> bool:
    return request.body is None or isinstance(request.body, bytes)


def _may_move_on(error: UpstreamError, request: UpstreamRequest, exchange: Exchange) -> bool:
    if isinstance(error, UpstreamUnreachable | UpstreamTLSError) or error.code == "upstream_connect_timeout":
        return True  # nothing of the request was sent
    if not _sendable_again(request):
        return False
    return request.method in ("GET", "HEAD", "OPTIONS") or exchange.path in REPLAYABLE_PATHS


def _retry_after(response: UpstreamResponse) -> float | None:
    """Seconds the provider asks to wait: retry-after-ms, or Retry-After as seconds or a date (RFC 9110 §10.2.3)."""
    fields = {name.lower(): value for name, value in response.headers}
    try:
        if (milliseconds := fields.get(b"retry-after-ms")) is not None:
            return max(float(milliseconds) / 1000, 0.0)
        value = fields.get(b"retry-after")
        if value is None:
            return None
        if value.isdigit():
            return float(value)
        return max(parsedate_to_datetime(value.decode("latin-1")).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return None
