"""What similar exchanges share, and their sums: counters are updated once a round, not per exchange."""

from typing import Any, Final, Protocol

import orjson

from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.counting.metrics import Metrics
from openai_proxy.records.reading.tokens import Tokens

MAX_KINDS: Final = 256
DAY: Final = 86_400  # seconds
LONG: Final = 16_384
"""Tokens of an input from which each token may cost more (the lowest such step of any provider is 32,000)."""


class Sum:
    """The sums of some exchanges of one kind. Times in seconds."""

    __slots__ = ("cached", "durations", "estimated", "exchange", "firsts", "made", "read", "reasoning")

    def __init__(self, estimated: bool) -> None:
        self.exchange: Exchange | None = None  # the last one
        self.estimated = estimated  # their tokens
        self.durations: list[float] = []
        self.firsts: list[float] = []
        self.read = self.made = self.cached = self.reasoning = 0


class TrafficClass:
    """Exchanges that differ only in their texts and times: the JSON that their lines share, and their sum."""

    __slots__ = ("about", "answer_end", "conversation", "estimated", "key", "request_end", "sum")

    def __init__(self, exchange: Exchange, estimated: bool) -> None:
        self.estimated = estimated
        caller = exchange.caller
        ending: dict[str, Any] = {"stream": exchange.stream}
        if caller.key_id is not None:
            ending |= {"group": caller.group, "api_key_id": caller.key_id}
        self.request_end = b"," + orjson.dumps(ending)[1:] + b"\n"
        ending = {"status": 200, "finish": Outcome.DONE, "connection": exchange.connection}
        if exchange.upstream_model is not None and exchange.upstream_model != exchange.model:
            ending["upstream_model"] = exchange.upstream_model
        self.answer_end = b"," + orjson.dumps(ending)[1:] + b"\n"
        self.conversation = ""  # the last one, …
        self.key = ("", "")  # … its file, …
        self.about = b""  # … and the constant part of its lines
        self.sum: Sum | None = None  # since the last transfer

    def speaks_in(self, model: str, conversation: str) -> None:
        """The next lines belong to `conversation`. Raises TypeError if a name is not UTF-8."""
        members = {"conversation_id": conversation, "model": model}
        self.about = b"," + orjson.dumps(members)[1:-1] + b","
        self.key = (model, conversation)
        self.conversation = conversation


def summable(exchange: Exchange, tokens: Tokens) -> bool:
    """True if the cost of an answered exchange can be derived from a sum of several like it."""
    return (
        tokens.input + tokens.output > 0
        and tokens.input <= LONG
        and tokens.cached <= tokens.input
        and tokens.cost is None
        and tokens.other is None
        and exchange.rounds == 1
    )


class Kinds:
    """The recently seen kinds, and the sums of those that were counted since the last transfer. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | int | None, ...], TrafficClass] = {}
        self._counted: list[TrafficClass] = []

    def of(self, exchange: Exchange, estimated: bool = False) -> TrafficClass:
        """The kind of `exchange`; `estimated`: its tokens are."""
        caller = exchange.caller
        key = (
            exchange.model, exchange.connection, exchange.upstream_model, caller.group, caller.key_id, exchange.user,
            exchange.session_id, exchange.agent, estimated, int(exchange.created_at // DAY),
        )  # fmt: skip
        kind = self._known.get(key)
        if kind is None:
            if len(self._known) >= MAX_KINDS:
                self._known.clear()
            kind = self._known[key] = TrafficClass(exchange, estimated)
        return kind

    def count(self, kind: TrafficClass, exchange: Exchange, duration: float, first: float, tokens: Tokens) -> None:
        """Add a `summable` exchange of `kind` to its sum; times in seconds."""
        entry = kind.sum
        if entry is None:
            entry = kind.sum = Sum(kind.estimated)
            self._counted.append(kind)
        entry.exchange = exchange
        entry.durations.append(duration)
        entry.firsts.append(first)
        entry.read += tokens.input
        entry.made += tokens.output
        if tokens.cached or tokens.reasoning:
            entry.cached += tokens.cached
            entry.reasoning += tokens.reasoning

    def take(self) -> list[Sum]:
        """The sums since the last time."""
        counted, self._counted = self._counted, []
        sums: list[Sum] = []
        for kind in counted:
            assert kind.sum is not None
            sums.append(kind.sum)
            kind.sum = None
        return sums


class Counters(Protocol):
    """Receives sums."""

    metrics: Metrics

    def add(self, exchange: Exchange, tokens: Tokens, number: int) -> None:
        """Count `number` exchanges like `exchange`; `tokens` is their total."""
        ...


def settle(entry: Sum, counters: Counters) -> None:
    """Report one sum."""
    assert entry.exchange is not None
    tokens = Tokens(entry.read, entry.made, entry.cached, entry.reasoning, entry.estimated)
    number = len(entry.durations)
    counters.metrics.counted(entry.exchange, 200, tokens, entry.durations, entry.firsts, number)
    counters.add(entry.exchange, tokens, number)
