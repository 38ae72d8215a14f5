"""One line per finished request: who, which model, where it went, how it ended, how long, how many tokens, which error.

    family  fast → groq.llama-4  200  0.21 s, 1.80 s in all  812 + 153 tokens  (tried ollama: connection refused)

Created by the recorder's thread after the answer was sent. Nobody reads thousands of lines a second, so beyond `BURST`
they are counted instead, and the count is written once a second.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from openai_proxy.endpoints import MCP
from openai_proxy.exchange import Attempt, Exchange, Outcome, Target
from openai_proxy.records.process_log.output import Colours, one_line, only_reader
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.finished_exchange import Finished, Work
from openai_proxy.records.recording.reasons import attempt_reason, failed, reason
from openai_proxy.secrets import vault

log = logging.getLogger("openai_proxy.request")

BURST: Final = 1000  # lines at once
RATE: Final = 50.0  # and per second from then on
TOGETHER: Final = 200  # lines written at once, in a millisecond, during which the event loop waits
NOTICED: Final = 0.05  # seconds of waiting in line that are worth mentioning
MAX_BEGINNINGS: Final = 500
MAX_NAME: Final = 80  # characters of a name that a client chose

_BELOW_V1: Final = frozenset({"ollama"})
"""Dialects whose paths are not below /v1."""

_PLAIN_WORK: Final = Work()
"""A successful whole exchange of which only the tokens are known."""


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
        """The severity: a provider's or our own failure is an error, a client's mistake a warning."""
        if not self.failed:
            return logging.INFO
        return logging.WARNING if 400 <= self.status < 500 else logging.ERROR

    def text(self, paint: Colours) -> str:
        """output.Facts: the line."""
        exchange = self._exchange
        parts = [self.beginning(paint) + _figures(exchange, self._tokens), *self._causes()]
        notes = exchange.notes
        if exchange.queued > NOTICED:
            notes = [f"waited {exchange.queued:.1f} s in the queue", *notes]
        if notes:
            parts.append(f"[{one_line('; '.join(notes))}]")
        return "  ".join(parts)

    def beginning(self, paint: Colours) -> str:
        """The part of the line that similar requests share: who, which model, where it went and how it ended."""
        where = self._where()
        return "  ".join(
            (paint("strong", self._who), self._what + (f" → {where}" if where else ""), self._ending(paint))
        )

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
            "attempts": [attempt.summary() for attempt in exchange.attempts] if self._tried else None,
        }
        return {"request": {name: value for name, value in facts.items() if value is not None}}

    def _where(self) -> str:
        exchange = self._exchange
        if exchange.connection is None:
            return ""
        return _target(Target(exchange.connection, exchange.upstream_model), exchange.model)

    def _ending(self, paint: Colours) -> str:
        exchange, status = self._exchange, str(self.status) if self.status else ""
        if exchange.outcome is Outcome.CLIENT_CLOSED:
            return paint("odd", f"{status} client left".strip())
        if self.failed:
            broken = "broken off" if 0 < self.status < 400 else ""
            return paint("odd" if 400 <= self.status < 500 else "bad", f"{status} {broken}".strip() or "failed")
        return paint("good", status)

    def _causes(self) -> list[str]:
        """Why it failed, and what failed before; a single attempt is not repeated."""
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


def _figures(exchange: Exchange, tokens: Tokens) -> str:
    """How long a request took, and how many tokens it used, as far as known."""
    first, whole = exchange.first_byte, exchange.ended
    if whole is None:
        text = ""
    elif exchange.stream and first is not None:
        begun = exchange.started
        text = f"  {max(first - begun, 0.0):.2f} s, {max(whole - begun, 0.0):.2f} s in all"
    else:
        text = f"  {max(whole - exchange.started, 0.0):.2f} s"
    if not tokens.total:
        return text
    about = "about " if tokens.estimated else ""
    cached = f", {tokens.cached} cached" if tokens.cached else ""
    return f"{text}  {about}{tokens.input} + {tokens.output} tokens{cached}"


def _went_well(finished: Finished) -> bool:
    """True if there is nothing to say about a request but its figures."""
    exchange = finished.exchange
    return (
        exchange.outcome is not Outcome.CLIENT_CLOSED
        and len(exchange.attempts) <= 1
        and not exchange.notes
        and exchange.queued <= NOTICED
        and not failed(finished)
    )


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
        return model or f"POST {whole}"  # obvious: the line names only the model
    path = _name(whole)
    return f"{exchange.method} {path}{f' {model}' if model else ''}"


def _target(target: Target, requested: str | None) -> str:
    """`connection.model`, or only the connection if the model's name is the requested one."""
    if target.model is None or target.model == requested:
        return _name(target.connection)
    return f"{_name(target.connection)}.{_name(target.model)}"


def _name(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def _seconds(exchange: Exchange, moment: float | None) -> float | None:
    return round(max(moment - exchange.started, 0.0), 3) if moment is not None else None


class RequestLines:
    """Writes the lines. Belongs to the recorder's thread, except `labels` and `enabled`, which are only replaced."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.enabled = True
        self.labels: Mapping[str, str] = {}
        """The first 12 digits of a key's SHA-256 -> the owner's name for it."""
        self._clock = clock
        self._room = float(BURST)
        self._filled = clock()
        self._skipped = 0
        self._last_report = clock()
        self._held: list[tuple[Exchange, int, Tokens]] = []  # exchanges that went well, and their status
        self._beginnings: dict[tuple[Any, ...], tuple[tuple[str, str], str]] = {}
        """The subjects and beginnings of recent lines."""
        self._known_for: tuple[Any, ...] = ()  # the terminal, labels and secrets for which they were made

    def room(self) -> int:
        """How many lines of successful requests may be written now. Thread-safe."""
        if not self.enabled or not log.isEnabledFor(logging.INFO):
            return 0
        return int(min(self._room + (self._clock() - self._filled) * RATE, BURST))

    def finished(self, finished: Finished) -> None:
        """An exchange has ended."""
        plain = _went_well(finished)
        if not self.enabled or not log.isEnabledFor(logging.INFO if plain else logging.ERROR) or not self._may_write():
            return
        if plain:
            self._hold(finished.exchange, finished.status, finished.tokens)
            return
        self.flush()
        self._log(finished)

    def went_well(self, exchanges: list[tuple[Exchange, Tokens]], number: int) -> None:
        """`number` exchanges have ended successfully with status 200; `exchanges` are the first of them."""
        if not self.enabled or not log.isEnabledFor(logging.INFO):
            return
        self._skipped += number - len(exchanges)
        for position, (exchange, tokens) in enumerate(exchanges):
            if not self._may_write():
                self._skipped += len(exchanges) - position - 1
                return
            self._hold(exchange, 200, tokens)

    def _hold(self, exchange: Exchange, status: int, tokens: Tokens) -> None:
        self._held.append((exchange, status, tokens))
        if len(self._held) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write the held-back lines of successful requests: many at once take a fraction of the time."""
        if not self._held:
            return
        held, self._held = self._held, []
        terminal = only_reader(log)
        if terminal is not None:
            known = (terminal, self.labels, vault.version)
            if known != self._known_for:
                self._known_for = known
                self._beginnings.clear()
            terminal.show([self._line(*one, terminal.paint) for one in held])
            return
        for exchange, status, tokens in held:
            self._log(Finished(exchange, status, _PLAIN_WORK, tokens, None, None))

    def _log(self, finished: Finished) -> None:
        facts = RequestFacts(finished, self.labels)
        if log.isEnabledFor(facts.level):
            log.log(facts.level, "%s", facts.subject, extra={"facts": facts})

    def _line(self, exchange: Exchange, status: int, tokens: Tokens, paint: Colours) -> tuple[tuple[str, str], str]:
        """The subject and the line of a request that went well."""
        caller = exchange.caller
        key = (
            caller.group or caller.remote, caller.key_id, exchange.method, exchange.path, exchange.model,
            exchange.connection, exchange.upstream_model, status,
        )  # fmt: skip
        found = self._beginnings.get(key)
        if found is None:
            if len(self._beginnings) >= MAX_BEGINNINGS:
                self._beginnings.clear()
            facts = RequestFacts(Finished(exchange, status, _PLAIN_WORK, tokens, None, None), self.labels)
            found = self._beginnings[key] = (facts.subject, facts.beginning(paint))
        return found[0], found[1] + _figures(exchange, tokens)

    def settle(self, now: bool) -> float | None:
        """Report how many lines were left out, if any; returns seconds until there may be more to report."""
        if not self._skipped:
            return None
        wait = self._last_report + 1.0 - self._clock()
        if wait > 0 and not now:
            return wait
        self.flush()
        skipped, self._skipped = self._skipped, 0
        self._last_report = self._clock()
        log.info("%d more requests, not shown line by line", skipped)
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
