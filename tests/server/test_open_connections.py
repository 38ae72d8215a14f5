"""Connections are counted in total and per client, and idle ones are closed before any is refused."""

import resource

import pytest

from openai_proxy.server.open_connections import ConnectionLimits, OpenConnections


def counted(in_all: int, of_one: int, resting: list[str] | None = None) -> OpenConnections:
    def close_resting() -> bool:
        found = bool(resting)
        while resting:
            made.ended(resting.pop())
        return found

    made = OpenConnections(lambda: ConnectionLimits(in_all, of_one, lambda peer: peer == "10.0.0.9"), close_resting)
    return made


def test_each_client_has_its_own_number() -> None:
    counts = counted(100, 2)
    assert [counts.admit("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert counts.admit("10.0.0.2")
    counts.ended("10.0.0.1")
    assert not counts.admit("10.0.0.1"), "two connections are still open, so a third must be refused"
    for _ in range(3):
        counts.ended("10.0.0.1")
    assert counts.admit("10.0.0.1")


@pytest.mark.parametrize("peer", ["", "127.0.0.1", "::1", "10.0.0.9"])
def test_trusted_proxies_may_have_many(peer: str) -> None:
    counts = counted(100, 2)
    assert all(counts.admit(peer) for _ in range(50))


def test_idle_connections_are_closed_first_when_all_places_are_taken() -> None:
    resting = ["10.0.0.1"]
    counts = counted(2, 10, resting)
    assert [counts.admit(f"10.0.0.{n}") for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert resting == []


def test_both_sides_need_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 64))
    counts = counted(1000, 1000)
    assert [counts.admit("127.0.0.1") for _ in range(33)] == [True] * 32 + [False]
