"""Shared tables without a store behind them: the newer value wins on every daemon, in whatever order they come."""

import asyncio
import itertools
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.store.shared import MAX_RECORDS, Shared, StoreLink

NAMES = ("a", "b")


class Link(StoreLink):
    """A reachable store to which nothing is written."""

    live = True

    def __init__(self) -> None:
        self.woken = 0

    def wake(self, *, within: float = 0.0) -> None:
        self.woken += 1


class Station:
    """Some values and the table that shares them."""

    def __init__(self, origin: str = "me", *, link: bool = True) -> None:
        self.values: dict[str, Any] = {}
        self.shared = Shared(origin)
        self.link = Link()
        self.shared.link = self.link if link else None
        self.table = self.shared.table("things", read=self._read, take=self._take, names=self._names)

    def put(self, name: str, value: Any) -> tuple[str, float, Any]:
        """Change a value; its record as the others get it."""
        self.values[name] = value
        self.table.changed(name)
        return name, self.table.stamps[name], value

    def _read(self, name: str) -> tuple[Any, float] | None:
        return (self.values[name], 60.0) if name in self.values else None

    def _take(self, name: str, value: Any) -> None:
        if value is None:
            self.values.pop(name, None)
        else:
            self.values[name] = value

    def _names(self) -> list[tuple[str, float]]:
        return [(name, 1.0) for name in self.values]


async def test_the_newer_change_wins() -> None:
    station = Station()
    name, at, _ = station.put("a", "mine")
    assert not station.table.receive(name, at - 1, "older")
    assert not station.table.receive(name, at, "the same")
    assert station.values == {"a": "mine"}
    assert station.table.receive(name, at + 1, "newer")
    assert station.values == {"a": "newer"}
    assert station.table.dirty == {}, "a change that was superseded must not be written"
    assert station.put("a", "again")[1] > at + 1, "a local change must be newer even if the local clock is behind"


CHANGES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(NAMES), st.one_of(st.none(), st.integers())), max_size=20
)


@given(CHANGES, st.randoms())
def test_all_daemons_agree_whatever_the_order(changes: list[tuple[int, str, Any]], random: Random) -> None:
    asyncio.run(_exchange_all(changes, random))


async def _exchange_all(changes: list[tuple[int, str, Any]], random: Random) -> None:
    stations = [Station(str(number)) for number in range(3)]
    records: list[tuple[str, float, Any]] = []
    with patch("openai_proxy.store.shared.time.time", side_effect=itertools.count(1000.0)):
        for number, name, value in changes:
            records.append(stations[number].put(name, value))
            if value is None:
                del stations[number].values[name]
    for station in stations:
        mixed = [*records]
        random.shuffle(mixed)
        for record in mixed:
            station.table.receive(*record)
    last = {name: value for _, name, value in changes}
    assert [station.values for station in stations] == [{n: v for n, v in last.items() if v is not None}] * 3


async def test_a_malformed_record_is_logged_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    station = Station()

    def broken(name: str, value: Any) -> None:
        raise KeyError(name)

    station.shared.table("broken", read=lambda _: None, take=broken, names=list).receive("x", 1.0, {})
    assert "a shared record of broken cannot be read (KeyError)" in caplog.text


async def test_a_single_daemon_keeps_nothing() -> None:
    station = Station(link=False)
    station.values["a"] = 1
    station.table.changed("a")
    assert (station.table.stamps, station.table.dirty, station.table.live) == ({}, {}, False)
    await station.table.fetch("a")
    await station.table.exchange("a", "a")
    assert await station.table.gather(lambda _: True) is None
    station.table.begin()
    assert station.table.dirty == {"a": None}, "values from before the store was connected must be written to it"


async def test_names_from_clients_are_bounded() -> None:
    station = Station()
    for number in range(MAX_RECORDS + 10):
        station.table.changed(str(number))
    assert len(station.table.stamps) == len(station.table.dirty) == MAX_RECORDS


async def test_a_wait_for_others_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Link):
        async def written(self) -> None:
            await asyncio.Event().wait()

        caught_up = written

    monkeypatch.setattr("openai_proxy.store.shared.FLUSH", 0.01)
    station = Station()
    station.shared.link = Silent()
    station.put("a", 1)
    await station.shared.written()
    await station.shared.caught_up()
