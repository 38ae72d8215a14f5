"""Arbitrary histories: restoring hidden turns never fails and never creates an invalid history."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.agent.fingerprint import ConversationFingerprint
from openai_proxy.agent.mixed import keep_calls, restore
from openai_proxy.agent.store import TurnStore
from tests.agent.test_mixed import LONG, QUESTION

JUNK = st.none() | st.text(max_size=4) | st.integers() | st.lists(st.text(max_size=3), max_size=2)
NAME, ARGUMENTS = st.sampled_from(["theirs", "ours"]) | JUNK, st.just('{"a":1,"b":2}') | JUNK
FUNCTION = st.fixed_dictionaries({}, optional={"name": NAME, "arguments": ARGUMENTS})
CALL = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from([LONG, "o1", "x"]) | JUNK,
        "function": FUNCTION | JUNK,
    },
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "function"]) | JUNK},
    optional={
        "content": JUNK | st.just(QUESTION["content"]),
        "tool_calls": st.lists(CALL | JUNK, max_size=3) | JUNK,
        "tool_call_id": st.sampled_from([LONG, "o1"]) | JUNK,
    },
)


@given(st.lists(MESSAGE | JUNK, max_size=8))
def test_any_history_is_answered_and_a_restored_one_is_valid(history: list[Any]) -> None:
    store = TurnStore()
    seen = ConversationFingerprint()
    seen.add(QUESTION)
    calls = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": '{"a":1,"b":2}'}}
        for i, n in (("o1", "ours"), (LONG, "theirs"))
    ]
    result = {"role": "tool", "tool_call_id": "o1", "content": "OURS"}
    true = {"role": "assistant", "content": None, "tool_calls": calls}
    keep_calls(store, "me", seen, before=[], turn=true, results=[result], ids=[LONG])
    messages = [QUESTION, *history]
    out = restore(store, "me", messages, remember=True)
    if true not in out:
        assert out == messages
        return
    for at, message in enumerate(out):
        if message == true:
            assert [m["tool_call_id"] for m in out[at + 1 : at + 3]] == ["o1", LONG]
            assert out[at + 1] == result
