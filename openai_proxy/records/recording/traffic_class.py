"""What many like exchanges share, and their sums: counters are told once a round, not at every exchange."""

from typing import Any, Final, Protocol

import orjson

from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.counting.metrics import Metrics
from openai_proxy.records.reading.tokens import Tokens

MAX_KINDS: Final = 256


class Sum:
    """What some exchanges of one kind come to. Times in seconds."""

    __slots__ = ("cached", "durations", "exchange", "firsts", "made", "read", "reasoning")

    def __init__(self) -> None:
        self.exchange: Exchange | None = None  # the last one
        self.durations: list[float] = []
        self.firsts: list[float] = []
        self.read = self.made = self.cached = self.reasoning = 0


class TrafficClass:
    """Exchanges that differ only in their texts and times: the JSON their lines share. Belongs to the event loop."""

    __slots__ = ("about", "answer_end", "conversation", "key", "request_end", "sum")

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
        self.conversation = ""  # the last one, …
        self.key = ("", "")  # … its file, …
        self.about = b""  # … and what every line of it says
        self.sum: Sum | None = None  # since the last hand-over

    def speaks_in(self, model: str, conversation: str) -> None:
        """The lines to come are of `conversation`. Raises TypeError where a name is no UTF-8."""
        members = {"conversation_id": conversation, "model": model}
        self.about = b"," + orjson.dumps(members)[1:-1] + b","
        self.key = (model, conversation)
        self.conversation = conversation


class Kinds:
    """The kinds lately seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, ...], TrafficClass] = {}

    def of(self, exchange: Exchange) -> TrafficClass:
        """The kind of `exchange`."""
        caller = exchange.caller
        key = (
            exchange.model, exchange.connection, exchange.upstream_model, caller.group, caller.key_id, exchange.user,
            exchange.session_id, exchange.agent,
        )  # fmt: skip
        kind = self._known.get(key)
        if kind is None:
            if len(self._known) >= MAX_KINDS:
                self._known.clear()
            kind = self._known[key] = TrafficClass(exchange)
        return kind


class Counters(Protocol):
    """Who is told sums."""

    metrics: Metrics

    def add(self, exchange: Exchange, tokens: Tokens, number: int) -> None:
        """Count `number` exchanges that were as `exchange`; `tokens` are those of all."""
        ...


def settle(entry: Sum, counters: Counters) -> None:
    """Tell one sum. A day that begins between two hand-overs takes what the first of them held."""
    assert entry.exchange is not None
    tokens = Tokens(entry.read, entry.made, entry.cached, entry.reasoning)
    number = len(entry.durations)
    counters.metrics.counted(entry.exchange, 200, tokens, entry.durations, entry.firsts, number)
    counters.add(entry.exchange, tokens, number)
