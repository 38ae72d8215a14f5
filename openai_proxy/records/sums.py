"""What many like exchanges share, and their sums: counters are told once a round, not at every exchange."""

from typing import Any, Protocol

import orjson

from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.metrics import Metrics
from openai_proxy.records.tokens import Tokens

MAX_KINDS = 256


class Kind:
    """Exchanges that differ only in their texts and times: the JSON their lines share. Made by the event loop."""

    __slots__ = ("answer_end", "exchange", "request_end")

    def __init__(self, exchange: Exchange) -> None:
        caller = exchange.caller
        ending: dict[str, Any] = {"stream": exchange.stream}
        if caller.key_id is not None:
            ending |= {"group": caller.group, "api_key_id": caller.key_id}
        self.request_end = b"," + orjson.dumps(ending)[1:] + b"\n"
        ending = {"status": 200, "finish": Outcome.DONE, "connection": exchange.connection}
        if exchange.upstream_model is not None and exchange.upstream_model != exchange.model:
            ending["upstream_model"] = exchange.upstream_model
        self.answer_end = b"," + orjson.dumps(ending)[1:] + b"\n"
        self.exchange = exchange  # the last one, for those who are told the sums


class Kinds:
    """The kinds lately seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, ...], Kind] = {}

    def of(self, exchange: Exchange) -> Kind:
        """The kind of `exchange`, which becomes its last."""
        caller = exchange.caller
        key = (exchange.model, exchange.connection, exchange.upstream_model, caller.group, caller.key_id)
        kind = self._known.get(key)
        if kind is None:
            if len(self._known) >= MAX_KINDS:
                self._known.clear()
            kind = self._known[key] = Kind(exchange)
        else:
            kind.exchange = exchange
        return kind


class Counters(Protocol):
    """Who is told sums."""

    metrics: Metrics

    def add(self, exchange: Exchange, tokens: Tokens, number: int) -> None:
        """Count `number` exchanges that were as `exchange`; `tokens` are those of all."""
        ...


class _Sum:
    """What the exchanges of one kind come to since the last time."""

    __slots__ = ("cached", "durations", "firsts", "made", "read", "reasoning")

    def __init__(self) -> None:
        self.durations: list[float] = []
        self.firsts: list[float] = []
        self.read = self.made = self.cached = self.reasoning = 0


class Sums:
    """The sums of one round. Belongs to the recorder's thread."""

    def __init__(self) -> None:
        self._open: dict[Kind, _Sum] = {}

    def add(self, kind: Kind, duration: float, first: float, tokens: Tokens) -> None:
        """Count one exchange; times in seconds."""
        entry = self._open.get(kind)
        if entry is None:
            entry = self._open[kind] = _Sum()
        entry.durations.append(duration)
        entry.firsts.append(first)
        entry.read += tokens.input
        entry.made += tokens.output
        entry.cached += tokens.cached
        entry.reasoning += tokens.reasoning

    def settle(self, counters: Counters) -> None:
        """Tell the sums. A day that begins between two rounds takes what the first of them held."""
        if not self._open:
            return
        summed, self._open = self._open, {}
        for kind, entry in summed.items():
            tokens = Tokens(entry.read, entry.made, entry.cached, entry.reasoning)
            number = len(entry.durations)
            counters.metrics.counted(kind.exchange, 200, tokens, entry.durations, entry.firsts, number)
            counters.add(kind.exchange, tokens, number)
