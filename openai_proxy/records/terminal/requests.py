"""One line per finished request: who, which model, where it went, how it ended, how long, how many tokens, and why not.

    family  fast → groq.llama-4  200  0.21 s, 1.80 s in all  812 + 153 tokens  (tried ollama: connection refused)

Made by the recorder's thread after the answer is gone. Nobody reads thousands of lines a second, so past `BURST` they
are counted instead, and the count is told once a second.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from openai_proxy.endpoints import MCP
from openai_proxy.exchange import Attempt, Exchange, Outcome, Target
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.finished_exchange import Finished, Work
from openai_proxy.records.recording.reasons import attempt_reason, failed, reason
from openai_proxy.records.terminal.output import Paint, one_line

log = logging.getLogger("openai_proxy.request")

BURST: Final = 1000  # lines at once
RATE: Final = 50.0  # and a second from then on
MAX_NAME: Final = 80  # characters of a name a client chose

_BELOW_V1: Final = frozenset({"ollama"})
"""Dialects whose paths are not below /v1."""

_PLAIN_WORK: Final = Work()
"""Of a whole exchange that went well, and of which nothing is known but its tokens."""


class RequestFacts:
    """output.Facts of one request."""

    bare = False

    def __init__(self, finished: Finished, labels: Mapping[str, str]) -> None:
        exchange = finished.exchange
        self._exchange = exchange
        self._tokens = finished.tokens
        self.status = finished.status or exchange.status or 0
        self.why = reason(finished)
        self._labels = labels
        self._who = _name(_who(exchange, labels))
        self._what = _what(exchange)
        self._tried = [(_target(a.target, exchange.model), a.status, why, a) for a, why in _failures(exchange)]
        self.failed = failed(finished)
        self.subject = (self._who, self._what)
        causes = tuple((target, status, why) for target, status, why, _ in self._tried)
        self.key: tuple[Any, ...] | None = (*self.subject, self.status, self.why, causes) if self.failed else None

    @property
    def level(self) -> int:
        """How serious it is: a provider's or our own failure is an error, a client's mistake a warning."""
        if not self.failed:
            return logging.INFO
        return logging.WARNING if 400 <= self.status < 500 else logging.ERROR

    def text(self, paint: Paint) -> str:
        """output.Facts: the line."""
        exchange = self._exchange
        where = self._where()
        parts = [paint("strong", self._who), self._what + (f" → {where}" if where else ""), self._ending(paint)]
        if times := self._times():
            parts.append(times)
        tokens = self._tokens
        if tokens.total:
            about = "about " if tokens.estimated else ""
            cached = f", {tokens.cached} cached" if tokens.cached else ""
            parts.append(f"{about}{tokens.input} + {tokens.output} tokens{cached}")
        parts += self._causes()
        if exchange.notes:
            parts.append(f"[{one_line('; '.join(exchange.notes))}]")
        return "  ".join(parts)

    def members(self) -> dict[str, Any]:
        """output.Facts: the same for programs."""
        exchange, tokens = self._exchange, self._tokens
        facts = {
            "id": exchange.id,
            "method": exchange.method,
            "path": exchange.path,
            "group": exchange.caller.group,
            "client": self._who,
            "model": exchange.model,
            "connection": exchange.connection,
            "upstream_model": exchange.upstream_model,
            "status": self.status or None,
            "outcome": str(exchange.outcome) if exchange.outcome is not None else None,
            "error": exchange.error_code,
            "reason": self.why,
            "first_word_seconds": _seconds(exchange, exchange.first_byte),
            "seconds": _seconds(exchange, exchange.ended),
            "queued_seconds": round(exchange.queued, 3) or None,
            "input_tokens": tokens.input if tokens.total else None,
            "output_tokens": tokens.output if tokens.total else None,
            "attempts": [attempt.told() for attempt in exchange.attempts] if self._tried else None,
        }
        return {"request": {name: value for name, value in facts.items() if value is not None}}

    def _where(self) -> str:
        exchange = self._exchange
        if exchange.connection is None:
            return ""
        return _target(Target(exchange.connection, exchange.upstream_model), exchange.model)

    def _ending(self, paint: Paint) -> str:
        exchange, status = self._exchange, str(self.status) if self.status else ""
        if exchange.outcome is Outcome.CLIENT_CLOSED:
            return paint("odd", f"{status} client left".strip())
        if self.failed:
            broken = "broken off" if 0 < self.status < 400 else ""
            return paint("odd" if 400 <= self.status < 500 else "bad", f"{status} {broken}".strip() or "failed")
        return paint("good", status)

    def _times(self) -> str:
        exchange = self._exchange
        first, whole = _seconds(exchange, exchange.first_byte), _seconds(exchange, exchange.ended)
        if whole is None:
            return ""
        if exchange.stream and first is not None:
            return f"{first:.2f} s, {whole:.2f} s in all"
        return f"{whole:.2f} s"

    def _causes(self) -> list[str]:
        """Why it failed, and what failed before; one try is not told twice."""
        earlier = self._tried[:-1] if self.failed else self._tried
        parts = [one_line(self.why)] if self.why else []
        if self.failed and self._tried and (key := self._key(self._tried[-1][3])):
            parts.append(f"with {key}")
        if earlier:
            parts.append(f"(tried {'; '.join(self._attempt(*one) for one in earlier)})")
        return parts

    def _attempt(self, target: str, status: int | None, why: str, attempt: Attempt) -> str:
        key = self._key(attempt)
        words = " ".join(part for part in (str(status or ""), one_line(why)) if part)
        return f"{target}{f' with {key}' if key else ''}: {words}"

    def _key(self, attempt: Attempt) -> str:
        return self._labels.get(attempt.key_id or "", "")


def _failures(exchange: Exchange) -> list[tuple[Attempt, str]]:
    found = [(attempt, attempt_reason(attempt)) for attempt in exchange.attempts]
    return [(attempt, why) for attempt, why in found if why is not None]


def _who(exchange: Exchange, labels: Mapping[str, str]) -> str:
    caller = exchange.caller
    if caller.group is None:
        return caller.remote
    label = labels.get(caller.key_id or "", "")
    return f"{caller.group} ({label})" if label else caller.group


def _what(exchange: Exchange) -> str:
    model = _name(exchange.model) if exchange.model else ""
    if exchange.endpoint is MCP:
        return f"{MCP.path}/{model}" if exchange.model != MCP.name else MCP.path
    whole = exchange.path if exchange.endpoint.dialect in _BELOW_V1 else f"/v1{exchange.path}"
    if exchange.method == "POST" and exchange.endpoint.generates and exchange.endpoint.metered:
        return model or f"POST {whole}"  # goes without saying: the line names the model only
    path = _name(whole)
    return f"{exchange.method} {path}{f' {model}' if model else ''}"


def _target(target: Target, asked: str | None) -> str:
    """`connection.model`, or the connection alone where the model's name is the one that was asked for."""
    if target.model is None or target.model == asked:
        return _name(target.connection)
    return f"{_name(target.connection)}.{_name(target.model)}"


def _name(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def _seconds(exchange: Exchange, moment: float | None) -> float | None:
    return round(max(moment - exchange.started, 0.0), 3) if moment is not None else None


class RequestLines:
    """Writes the lines. Belongs to the recorder's thread, but for `labels` and `enabled`, which are only replaced."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.enabled = True
        self.labels: Mapping[str, str] = {}
        """The first 12 digits of a key's SHA-256 -> what its owner calls it."""
        self._clock = clock
        self._room = float(BURST)
        self._filled = clock()
        self._skipped = 0
        self._told = clock()

    def wanted(self) -> bool:
        """True if lines of requests that went well are shown at all."""
        return self.enabled and log.isEnabledFor(logging.INFO)

    def finished(self, finished: Finished) -> None:
        """An exchange has ended."""
        if not self.enabled or not log.isEnabledFor(logging.ERROR) or not self._may_write():
            return
        facts = RequestFacts(finished, self.labels)
        if log.isEnabledFor(facts.level):
            log.log(facts.level, "%s", facts.subject, extra={"facts": facts})

    def went_well(self, exchanges: list[tuple[Exchange, Tokens]]) -> None:
        """Some exchanges have ended, each with status 200 and as it should."""
        for number, (exchange, tokens) in enumerate(exchanges):
            if not self._may_write():
                self._skipped += len(exchanges) - number - 1
                return
            facts = RequestFacts(Finished(exchange, 200, _PLAIN_WORK, tokens, None, None), self.labels)
            log.info("%s", facts.subject, extra={"facts": facts})

    def settle(self, now: bool) -> float | None:
        """Tell how many lines were left out, if any; seconds until there may be more to tell."""
        if not self._skipped:
            return None
        wait = self._told + 1.0 - self._clock()
        if wait > 0 and not now:
            return wait
        skipped, self._skipped = self._skipped, 0
        self._told = self._clock()
        log.info("%d more requests than there are lines for", skipped)
        return None

    def _may_write(self) -> bool:
        if self._room < 1.0:
            now = self._clock()
            self._room = min(self._room + (now - self._filled) * RATE, BURST)
            self._filled = now
            if self._room < 1.0:
                self._skipped += 1
                return False
        self._room -= 1.0
        return True
