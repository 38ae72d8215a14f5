"""The providers' health: resting keys, and a circuit breaker per (connection, model).

Five consecutive failures of a connection's model (no connection, a break, a timeout, 502 and above; a 500 or 501 may be
the request's own fault) open its breaker: routes with another target skip it for 30 s, then one request may try
(half-open); each failure doubles the pause up to 5 min, any success closes it. A route's only target is protected, too,
but never skipped: while its breaker is open one request every two seconds gets through, and the others immediately get
the last one's error, instead of queueing up in front of a failing server.

Lives as long as the process. While everything is well a request pays two comparisons (`all_healthy`).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from openai_proxy.errors import UpstreamError
from openai_proxy.exchange import Target, UpstreamResponse
from openai_proxy.upstream.keyring import KeyRing
from openai_proxy.upstream.provider import Provider
from openai_proxy.upstream.queue import ConnectionQueues

if TYPE_CHECKING:
    from openai_proxy.upstream.wake import Waker

log = logging.getLogger(__name__)

STRIKES: Final = 5
FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 300.0
LONE_PAUSE: Final = 2.0
MAX_BREAKERS: Final = 4096  # model names come from clients


@dataclass(slots=True)
class Breaker:
    """One model of one connection. `error` is that of the last request."""

    strikes: int = 0
    until: float = 0.0
    tried: float = 0.0
    trying: bool = False
    error: UpstreamError | None = None

    @property
    def open(self) -> bool:
        """True if it has failed too often in a row."""
        return self.strikes >= STRIKES


class Health:
    """See the module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.keys = KeyRing(clock)
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._turns: dict[str, int] = {}

    @property
    def all_healthy(self) -> bool:
        """True while no target is failing and no key is resting: there is nothing to look up or to clear."""
        return not self._breakers and self.keys.all_healthy

    def in_turn(self, rule: str, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """`targets` of a round-robin rule, starting with the next one in turn."""
        turn = self._turns.get(rule, 0)
        self._turns[rule] = turn + 1
        first = turn % len(targets)
        return targets[first:] + targets[:first]

    def cooldown_left(self, target: Target, model: str | None, keys: Sequence[str]) -> float:
        """Seconds for which `target` should be skipped; 0 if it is healthy."""
        breaker = self._breakers.get((target.connection, target.model or model or ""))
        pause = max(breaker.until - self._clock(), 0.0) if breaker is not None and breaker.open else 0.0
        return max(pause, self.keys.cooldown_left(target.connection, keys))

    def ordered(
        self, targets: tuple[Target, ...], model: str | None, keys: Mapping[str, tuple[str, ...]]
    ) -> tuple[Target, ...]:
        """Healthy targets before those that are resting, soonest first; the order is otherwise kept."""
        if len(targets) < 2 or self.all_healthy:
            return targets
        return tuple(sorted(targets, key=lambda t: self.cooldown_left(t, model, keys.get(t.connection, ()))))

    def check_single_target(self, target: Target, model: str | None) -> None:
        """Called before trying a route's only target. Raises the error that the client should get at once, if any."""
        breaker = self._breakers.get((target.connection, target.model or model or ""))
        if breaker is None or not breaker.open:
            return
        now = self._clock()
        if now - breaker.tried >= LONE_PAUSE:
            breaker.tried = now
            return
        wait = LONE_PAUSE - (now - breaker.tried)
        known = breaker.error
        text = known.message if known is not None else f"The connection '{target.connection}' is failing."
        kind = type(known) if known is not None else UpstreamError
        code = known.code if known is not None else "upstream_resting"
        status = known.status if known is not None else 503
        cause = f"not tried again so soon after: {known.cause or known.message}" if known is not None else None
        raise kind(text, code=code, status=status, headers={"Retry-After": str(int(wait) + 1)}, cause=cause)

    def record_attempt(self, target: Target, model: str | None) -> None:
        """A request is being sent to `target`: if its breaker is open, this is the trial."""
        if self._breakers:
            breaker = self._breakers.get((target.connection, target.model or model or ""))
            if breaker is not None and breaker.open:
                breaker.trying = True
                breaker.until = self._clock() + _pause(breaker.strikes)

    def record_success(self, target: Target, model: str | None, key: str | None) -> None:
        """`target` gave a good answer."""
        if self._breakers:
            breaker = self._breakers.pop((target.connection, target.model or model or ""), None)
            if breaker is not None and breaker.open:
                log.info("%s answers again", _named(target, model))
        if key is not None:
            self.keys.answered(target.connection, key)

    def record_failure(self, target: Target, model: str | None, error: UpstreamError | None) -> None:
        """A request failed at `target` with `error`, None for an error answer of the provider's own."""
        name = (target.connection, target.model or model or "")
        breaker = self._breakers.get(name)
        if breaker is None:
            if len(self._breakers) >= MAX_BREAKERS:
                del self._breakers[next(iter(self._breakers))]
            breaker = self._breakers[name] = Breaker()
        now = self._clock()
        breaker.error = error
        if breaker.open and now < breaker.until and not breaker.trying:
            return  # one of many running requests: nothing new
        breaker.trying = False
        breaker.strikes += 1
        if breaker.strikes == STRIKES:
            why = f": {error.cause or error.message}" if error is not None else ""
            log.warning("%s failed %d times in a row and is paused%s", _named(target, model), STRIKES, why)
        if breaker.open:
            breaker.tried = now
            breaker.until = now + _pause(breaker.strikes)

    def forget(self, connection: str) -> None:
        """The connection was edited: forget what was known about it."""
        self.keys.forget(connection)
        for name in [known for known in self._breakers if known[0] == connection]:
            del self._breakers[name]

    def state(self, connection: str) -> tuple[int, list[str]]:
        """For the status: how many keys are resting, and the models whose breaker is open."""
        broken = [model for (name, model), b in self._breakers.items() if name == connection and b.open]
        return self.keys.resting(connection), broken


def _named(target: Target, model: str | None) -> str:
    return f"{target.connection}.{(target.model or model or '')[:80]}".rstrip(".")


def _pause(strikes: int) -> float:
    return min(FIRST_PAUSE * 2.0 ** min(strikes - STRIKES, 10), LONGEST_PAUSE)


@dataclass(slots=True)
class Opened:
    """An answer, and the target that gave it."""

    response: UpstreamResponse
    provider: Provider
    target: Target
    key: str | None


@dataclass(frozen=True, slots=True)
class Upstreams:
    """What one generation may use: providers, `max_retries` and keys by connection, and the shared health."""

    providers: Mapping[str, Provider]
    retries: Mapping[str, int]
    keys: Mapping[str, tuple[str, ...]]
    health: Health
    lines: ConnectionQueues = field(default_factory=ConnectionQueues)
    wakers: "Mapping[str, Waker]" = field(default_factory=dict)  # machines that may sleep, by connection
