"""The store of hidden turns stays within its limits, whatever it gets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.agent.fingerprint import ConversationFingerprint
from openai_proxy.agent.fingerprint import key as key_of
from openai_proxy.agent.mixed import _find_calls
from openai_proxy.agent.store import HiddenRounds, PendingEntry, TurnStore
from openai_proxy.tasks import in_thread


def hidden(size: int = 10, mark: str = "") -> HiddenRounds:
    return HiddenRounds(
        [], {"role": "assistant", "content": "x" * size, "mark": mark}, [], {"c": ("f", "{}")}, "q", "v"
    )


def test_entries_are_found_unchanged_and_newest_first() -> None:
    store = TurnStore()
    store.keep(["a"], hidden(mark="1"))
    store.keep(["a", "b"], hidden(mark="2"))
    assert store.find("a") == [hidden(mark="2"), hidden(mark="1")]
    assert store.find("b") == [hidden(mark="2")]
    assert store.find("c") == []


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from("abc"), st.integers(0, 20)), max_size=30))
def test_count_bytes_and_age_are_bounded(steps: list[tuple[int, str, int]]) -> None:
    now = 0.0
    store = TurnStore(max_entries=5, max_bytes=1500, ttl=30, clock=lambda: now)
    for size, key, passed in steps:
        now += passed
        store.keep([key], hidden(size, str(now)))
        assert len(store) <= 5
        assert 0 <= store.size <= 1500
        assert all(now - float(h.turn["mark"]) <= 30 for k in "abc" for h in store.find(k))
    now += 31
    assert [store.find(k) for k in "abc"] == [[], [], []]
    assert (len(store), store.size, store._keys) == (0, 0, {})


def test_an_oversized_entry_is_not_stored() -> None:
    store = TurnStore(max_bytes=1000)
    store.keep(["a"], hidden(10))
    store.keep(["b"], hidden(2000))
    assert len(store.find("a")) == 1
    assert store.find("b") == []


def test_a_loaded_state_ages_on(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = 1000.0
    monkeypatch.setattr("openai_proxy.agent.store.time.time", lambda: wall)
    store = TurnStore(ttl=60, clock=lambda: 5.0)
    store.keep(["a"], hidden())
    state = store.dump()
    wall += 40
    second = TurnStore(ttl=60, clock=lambda: 0.0)
    assert second.load(state) == 1
    state = second.dump()
    wall += 40
    assert TurnStore(ttl=60, clock=lambda: 0.0).load(state) == 0


@pytest.mark.parametrize("state", [{}, {"version": 2}, {"version": 1, "saved_at": 0, "entries": [{"age": "x"}]}, []])
def test_an_unreadable_state_is_ignored(state: Any) -> None:
    store = TurnStore()
    assert store.load(state) == 0
    assert len(store) == 0


async def test_a_thread_reads_the_store_and_changes_nothing() -> None:
    """A large request is restored in a thread while the event loop stores other turns."""
    now = 0.0
    store = TurnStore(ttl=10, clock=lambda: now)
    store.keep(["a"], hidden(mark="1"))
    assert await in_thread(store.find, "a") == [hidden(mark="1")]
    now = 11.0
    assert await in_thread(store.find, "a") == []
    assert len(store) == 1
    assert store.find("a") == []
    assert len(store) == 0


def test_of_thousands_with_one_call_id_only_the_right_one_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "functions.get_weather:0" is the id of every conversation's first call with some servers."""
    store, seen = TurnStore(), ConversationFingerprint()
    seen.add({"role": "user", "content": "What is the weather?"})
    for number in range(2000):
        turn = {"role": "assistant", "content": str(number)}
        question = seen.question if number == 7 else f"question {number}"
        store.keep([key_of("me", "id", "f:0")], HiddenRounds([], turn, [], {"f:0": ("f", "{}")}, question, f"{number}"))
    read: list[HiddenRounds] = []
    hidden_of = PendingEntry.hidden

    def noted(entry: PendingEntry) -> HiddenRounds:
        read.append(hidden_of(entry))
        return read[-1]

    monkeypatch.setattr(PendingEntry, "hidden", noted)
    call = {"id": "f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = _find_calls(store, "me", seen, {"role": "assistant", "tool_calls": [call]})
    assert found is not None
    assert found.turn["content"] == "7"
    assert len(read) == 1
