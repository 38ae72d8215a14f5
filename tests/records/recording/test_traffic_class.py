"""Counting exchanges as sums gives the same numbers as counting each one."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from openai_proxy.exchange import Caller, Exchange
from openai_proxy.records.counting.metrics import Metrics
from openai_proxy.records.counting.prices import Prices
from openai_proxy.records.counting.usage import Usage
from openai_proxy.records.reading.tokens import OtherTokens, Tokens
from openai_proxy.records.recording.traffic_class import LONG, Kinds, settle, summable
from tests.records.conftest import exchange, with_members

ANNA = Caller("10.0.0.1", "family", "aaaaaaaaaaaa", b"a" * 32)
PRICES = Prices({"gpt": {"input": 2.0, "cached_input": 0.5, "output": 8.0}})


class Counted:
    """The counters of exchanges, and everything they have counted."""

    def __init__(self, folder: Path) -> None:
        self.metrics = Metrics()
        self.usage = Usage(folder / "usage.sqlite3")
        self.usage.prices = PRICES

    def add(self, exchange: Exchange, tokens: Tokens, number: int) -> None:
        self.usage.add(exchange, tokens, number)

    def numbers(self) -> Any:
        metrics = self.metrics
        rows = {row[:8]: [round(value, 9) for value in row[8:]] for row in self.usage.rows()}
        times = [
            {k: (h.counts, round(h.total, 6)) for k, h in t.items()} for t in (metrics.durations, metrics.first_bytes)
        ]
        return rows, metrics.requests, metrics.tokens, times


EXCHANGES = st.builds(
    lambda model, day, user, first, more: with_members(
        exchange(caller=ANNA, model=model, connection="c", user=user),
        created_at=day * 86_400.0 + 5,
        started=100.0,
        first_byte=100.0 + first,
        ended=100.0 + first + more,
    ),
    st.sampled_from(["gpt", "free"]),
    st.sampled_from([20_000, 20_001]),
    st.sampled_from([None, "me"]),
    st.integers(0, 40).map(lambda quarters: quarters / 4),  # exact in binary, so that sums do not depend on the order
    st.integers(0, 4000).map(lambda quarters: quarters / 4),
)
TOKENS = st.builds(
    lambda *counts: Tokens(*counts),
    st.integers(10, LONG),
    st.integers(0, 900),
    st.integers(0, 10),
    st.just(0),
    st.booleans(),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(EXCHANGES, TOKENS), max_size=12))
def test_sums_count_what_each_would(pairs: list[tuple[Exchange, Tokens]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        summed, single = Counted(Path(folder)), Counted(Path(folder))
        kinds = Kinds()
        for each, tokens in pairs:
            assert summable(each, tokens)
            assert each.ended is not None
            assert each.first_byte is not None
            times = each.ended - each.started, each.first_byte - each.started
            kinds.count(kinds.of(each, tokens.estimated), each, *times, tokens)
            single.metrics.finished(each, 200, tokens, None)
            single.add(each, tokens, 1)
        for total in kinds.take():
            settle(total, summed)
        assert kinds.take() == []
        assert summed.numbers() == single.numbers()


def test_exchanges_priced_individually_are_not_summed() -> None:
    plain = exchange()
    assert summable(plain, Tokens(10, 20))
    assert not summable(plain, Tokens())
    assert not summable(plain, Tokens(LONG + 1, 20))
    assert not summable(plain, Tokens(10, 20, cached=11))
    assert not summable(plain, Tokens(10, 20, cost=0.1))
    assert not summable(plain, Tokens(10, 20, other=OtherTokens(audio_input=5)))
    assert not summable(with_members(exchange(), rounds=2), Tokens(10, 20))
