"""Retries: the same target, the next key, the next target, until one answers, and only before the first byte.

    signal                                  same target again      next key   next target   endpoints
    408, 409, 5xx answered                  up to max_retries      then       then          whose body can be resent
    429 answered                            if it is the only one  at once    then          whose body can be resent
    401, 402, 403 to a key of ours          no                     at once    then          whose body can be resent
    403 for the content (moderation)        it is the answer
    DNS, refused, TLS, connect timeout      no                     no         yes           any (nothing was sent)
    break or timeout with the body sent     no                     no         yes           chat and embeddings
    any other answer                        it is the answer

Another key or target is tried at once; the same one after its Retry-After (up to MAX_WAIT), or without one after 0.5 s
doubling to 8 s, half of it jitter. After FAILOVER_TIME, or past the deadline of a turn, there is no more waiting: each
remaining target is tried once. A sleeping machine is woken and waited for (`wake`) before its target counts as
unreachable. A streamed body can be sent only once, so there is no retry after its first byte.

If a provider answers 200 and then an error as its first event, there is no retry: for that, the head of every answer
would have to wait for the first event, and contract §3 promises to pass on bytes as they arrive.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace

from openai_proxy.errors import (
    DeadlineExceeded,
    ProxyError,
    UpstreamAuthError,
    UpstreamError,
    UpstreamRedirect,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from openai_proxy.exchange import HIGH, Attempt, Exchange, Headers, Target, UpstreamRequest
from openai_proxy.secrets import key_id
from openai_proxy.upstream.causes import is_asleep
from openai_proxy.upstream.credentials import hide_keys
from openai_proxy.upstream.health import Health, Opened, Upstreams
from openai_proxy.upstream.learning import REFUSALS as LESSON_STATUSES
from openai_proxy.upstream.learning import LearnsFromRefusals
from openai_proxy.upstream.refusals import (
    CURIOSITY,
    PATIENCE,
    PeekedResponse,
    body_says,
    is_bad_key,
    is_moderation,
    message_in,
    retry_after,
)
from openai_proxy.upstream.sending import send

REFUSALS = frozenset({401, 402, 403, 429})
RETRYABLE = frozenset({408, 409, 429, *range(500, 600)})
_TRACE_FIELDS = frozenset({b"traceparent", b"tracestate"})
MAX_WAIT = 10.0  # maximum seconds of Retry-After that a request waits for, since a person may be waiting
FIRST_PAUSE = 0.5
MAX_PAUSE = 8.0
FAILOVER_TIME = 30.0
BLAMELESS = frozenset({500, 501})  # may be the request's own fault: not counted by the breaker

MakeRequest = Callable[[Target], UpstreamRequest]

__all__ = ["Opened", "Upstreams", "blames", "open_first"]


async def open_first(
    targets: tuple[Target, ...],
    make: MakeRequest,
    upstreams: Upstreams,
    exchange: Exchange,
    first: Opened | None = None,
    failed: UpstreamError | None = None,
    *,
    preferred: str | None = None,
) -> Opened:
    """Try `targets` in turn until one gives a final answer.

    `make` shapes the request for a target. `first` is an answer that the first target has already given, `failed` the
    error instead of one (either's attempt is in `exchange`). `preferred` is the key for the first try, unless it is
    resting: caches and signatures are bound to it. Without a final answer returns the last one, preferring a 429;
    raises the last UpstreamError if nothing answered.
    """
    plan = _Attempts(upstreams, make, exchange, first, failed)
    plan.preferred = preferred
    try:
        for number, target in enumerate(targets):
            opened = await plan.at(target, last=number + 1 == len(targets))
            if opened is not None:
                return hide_keys(opened)
    except BaseException:
        plan.close_kept()
        raise
    return hide_keys(plan.best())


def blames(error: ProxyError) -> bool:
    """True if `error` means that the target is failing (rather than that our key or address is wrong)."""
    return isinstance(error, UpstreamError) and not isinstance(error, UpstreamAuthError | UpstreamRedirect)


class _Attempts:
    """One request on its way through its targets."""

    def __init__(
        self,
        upstreams: Upstreams,
        make: MakeRequest,
        exchange: Exchange,
        first: Opened | None,
        failed: UpstreamError | None,
    ) -> None:
        self._upstreams = upstreams
        self._health: Health = upstreams.health
        self._make = make
        self._exchange = exchange
        self._first = first
        self._failed = failed
        self._kept: Opened | None = None
        self._error: UpstreamError | None = None
        self.preferred: str | None = None
        self._until = time.monotonic() + FAILOVER_TIME

    def best(self) -> Opened:
        """What to tell the client if there was no final answer."""
        if self._kept is not None:
            return self._kept
        assert self._error is not None
        raise self._error

    def close_kept(self) -> None:
        """Close the kept answer, which nobody will read."""
        if self._kept is not None:
            self._kept.response.close()
            self._kept = None

    async def at(self, target: Target, *, last: bool) -> Opened | None:
        """Try one target as often as allowed; None to continue with the next. Raises what ends the request."""
        keys = self._upstreams.keys.get(target.connection, ())
        model = self._exchange.model
        left = self._upstreams.retries.get(target.connection, 0)
        used: set[str] = set()
        pause = FIRST_PAUSE
        request = self._make(target)
        key, self.preferred = self.preferred, None
        if key is not None and (key not in keys or self._health.keys.cooldown_left(target.connection, (key,))):
            key = None
        while True:
            try:
                opened = await self._awake(target, request, keys, used, key, last=last)
            except UpstreamError as error:
                self._error = error
                if blames(error) and not (target.connection in self._upstreams.wakers and is_asleep(error)):
                    self._health.record_failure(target, model, error)
                if not _may_move_on(error, request, self._exchange):
                    raise
                return None
            status, own_key = opened.response.status, opened.key
            if status == 400 and own_key is not None:
                await self._explain(opened)
                status = opened.response.status
            if status not in RETRYABLE and (status not in REFUSALS or own_key is None):
                return self._accepted(target, opened)
            wait = retry_after(opened.response.headers)
            body = await self._explain(opened)
            if status == 403 and is_moderation(body):  # about the content, not the key
                return self._accepted(target, opened)
            if status in REFUSALS and own_key is not None:
                wait = self._rest(opened, own_key, wait, body)
            if own_key is not None:
                used.add(own_key)
            if not _sendable_again(request):
                self._report(target, status)
                self.close_kept()
                return opened
            self._keep(opened)
            again = status not in REFUSALS or (status == 429 and last)
            again = again and left > 0 and time.monotonic() < self._until and (wait is None or wait <= MAX_WAIT)
            others = [other for other in keys if other not in used] if own_key is not None else []
            ready = bool(others) and self._health.keys.cooldown_left(target.connection, others) == 0.0
            if ready and (status in REFUSALS or not again):
                key, left = None, (left if status in REFUSALS else 0)
                continue  # with the next key, at once
            if not again:
                self._report(target, status)
                return None
            left -= 1
            key = opened.key
            if wait is None:
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
            if not self._exchange.has_time_for(wait):
                if last:
                    raise DeadlineExceeded("The answer took too long.", cause="no time was left to retry")
                return None
            await asyncio.sleep(wait)
            pause = min(pause * 2, MAX_PAUSE)

    def _accepted(self, target: Target, opened: Opened) -> Opened:
        """`opened` is the final answer."""
        self._health.record_success(target, self._exchange.model, opened.key)
        self.close_kept()
        return opened

    def _report(self, target: Target, status: int) -> None:
        if status >= 500 and status not in BLAMELESS:
            self._health.record_failure(target, self._exchange.model, None)

    def _keep(self, opened: Opened) -> None:
        """Of the answers that are not final, keep the last one, but prefer a 429."""
        kept = self._kept
        if kept is not None and kept is not opened:
            if kept.response.status == 429 and opened.response.status != 429:
                opened.response.close()
                return
            kept.response.close()
        self._kept = opened

    async def _explain(self, opened: Opened) -> bytes:
        """Note the provider's words in the attempt; returns the beginning of its body."""
        response = opened.response
        peeked = opened.response = PeekedResponse(response)
        body = await peeked.peek(PATIENCE if response.status in (402, 403, 429) else CURIOSITY)
        if self._exchange.attempts:
            self._exchange.attempts[-1].cause = message_in(body)
        if peeked.status == 400 and is_bad_key(body):
            peeked.status = 401
        return body

    def _rest(self, opened: Opened, key: str, wait: float | None, body: bytes) -> float | None:
        """Rest the refused key; returns the seconds that the provider asks for."""
        status = opened.response.status
        money = status == 402
        if status in (402, 429):
            asked, short = body_says(body)
            money = money or short
            wait = wait if wait is not None else asked
        self._health.keys.refused(opened.target.connection, key, status, wait, money=money, why=message_in(body))
        return wait if not money else None

    async def _awake(
        self,
        target: Target,
        request: UpstreamRequest,
        keys: tuple[str, ...],
        used: set[str],
        key: str | None,
        *,
        last: bool,
    ) -> Opened:
        """`_answer`, after waiting for the target's machine to wake up if it is asleep."""
        waker = self._upstreams.wakers.get(target.connection)
        try:
            return await self._answer(target, request, keys, used, key)
        except UpstreamError as error:
            if waker is None or not is_asleep(error):
                raise
            if self._exchange.priority == HIGH and not last:
                waker.call()  # for later requests: this one tries the next target at once
                raise
        return await waker.wait_for(self._exchange, lambda: self._answer(target, request, keys, used, key))

    async def _answer(
        self, target: Target, request: UpstreamRequest, keys: tuple[str, ...], used: set[str], key: str | None
    ) -> Opened:
        if self._first is not None:
            opened, self._first = self._first, None
            if opened.response.status in LESSON_STATUSES and isinstance(opened.provider, LearnsFromRefusals):
                opened.response = await opened.provider.reconsider(request, opened.response, opened.key)
                self._exchange.attempts[-1].status = opened.response.status
            return opened
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error
        exchange = self._exchange
        exchange.state = "waiting"
        provider = self._upstreams.providers[target.connection]
        self._health.record_attempt(target, exchange.model)
        if key is None:
            key = self._health.keys.pick(target.connection, tuple(k for k in keys if k not in used) or keys)
        forwarded = request.client_authorization is not None
        named = len(keys) > 1 and key is not None and not forwarded
        attempt = Attempt(target, key_id(key) if named and key is not None else None)
        exchange.attempts.append(attempt)
        exchange.connection = target.connection
        exchange.upstream_model = target.model or exchange.model
        trace = exchange.trace
        if trace is not None:
            request = _traced(request, trace.attempt(attempt))
        started = time.monotonic()
        try:
            response = await send(self._upstreams, target, request, key, exchange)
        except ProxyError as error:
            attempt.failed(error)
            if trace is not None:
                trace.attempt_failed(attempt)
            raise
        finally:
            attempt.duration = time.monotonic() - started
        attempt.status = response.status
        if trace is not None and response.status >= 400:
            trace.attempt_failed(attempt)
        return Opened(response, provider, target, None if forwarded else key)


def _traced(request: UpstreamRequest, fields: Headers) -> UpstreamRequest:
    """`request` with the trace context of this attempt instead of the client's."""
    kept = [field for field in request.headers if field[0].lower() not in _TRACE_FIELDS]
    return replace(request, headers=[*kept, *fields])


def _sendable_again(request: UpstreamRequest) -> bool:
    return request.body is None or isinstance(request.body, bytes)


def _may_move_on(error: UpstreamError, request: UpstreamRequest, exchange: Exchange) -> bool:
    if isinstance(error, UpstreamUnreachable | UpstreamTLSError) or error.code == "upstream_connect_timeout":
        return True  # nothing of the request was sent
    if not _sendable_again(request):
        return False
    return request.method in ("GET", "HEAD", "OPTIONS") or exchange.endpoint.replayable
