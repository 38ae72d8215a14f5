"""Stored answers: found by their caller, removed by age, count and size."""

from typing import Any

import orjson
import pytest

from openai_proxy.bounded_map import BoundedMap
from openai_proxy.errors import BadRequest
from openai_proxy.store import responses
from openai_proxy.store.resolve import resolve
from openai_proxy.store.responses import ResponseStore
from tests.harness.clock import Clock

HI = {"role": "user", "content": "hi"}


def answer(number: int, text: str = "yes") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": [part]}
    return {"id": f"resp_{number}", "object": "response", "status": "completed", "output": [message]}


def test_a_chain_of_answers_is_assembled() -> None:
    store = ResponseStore()
    store.keep("me", [HI], answer(1))
    first = resolve(store, "me", {"model": "m", "previous_response_id": "resp_1", "input": "more"})
    assert first.ours
    assert first.missing is None
    assert [item["role"] for item in first.document["input"]] == ["user", "assistant", "user"]
    store.keep("me", first.document["input"], answer(2))
    second = resolve(store, "me", {"previous_response_id": "resp_2"})
    assert [item["role"] for item in second.document["input"]] == ["user", "assistant", "user", "assistant"]


def test_answers_of_other_callers_are_not_found() -> None:
    store = ResponseStore()
    store.keep("me", [HI], answer(1))
    for document, code in (
        ({"previous_response_id": "resp_1"}, "previous_response_not_found"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_not_found"),
        ({"input": [{"id": "msg_1"}]}, "item_not_found"),
        ({"conversation": "conv_1"}, "conversation_not_found"),
        ({"conversation": {"id": "conv_1"}}, "conversation_not_found"),
    ):
        found = resolve(store, "you", document)
        assert not found.ours
        assert found.missing is not None
        assert found.missing.code == code
        assert found.missing.status == 404
    assert store.response("you", "resp_1") is None
    assert not store.delete("you", "resp_1")
    assert store.response("me", "resp_1") is not None


def test_a_reference_is_replaced_by_its_item() -> None:
    store = ResponseStore()
    store.keep("me", [HI], answer(1))
    found = resolve(store, "me", {"input": [HI, {"type": "item_reference", "id": "msg_1"}, HI]})
    assert found.ours
    assert found.document["input"][1]["content"][0]["text"] == "yes"


def test_a_request_without_references_is_unchanged() -> None:
    document = {"input": [HI, {"id": "msg_7", "role": "user", "content": "x"}]}
    assert resolve(ResponseStore(), "me", document).document is document


def test_two_contradictory_references_are_refused() -> None:
    with pytest.raises(BadRequest):
        resolve(ResponseStore(), "me", {"previous_response_id": "resp_1", "conversation": "conv_1"})


def test_conversations() -> None:
    store = ResponseStore()
    begun = store.begin("me", [HI], {"a": "b"})
    assert store.conversation("you", begun.id) is None
    added = store.add("me", begun.id, [{"id": "msg_9", "role": "assistant", "content": "x"}])
    assert [item["id"] for item in added] == ["msg_9"]
    found = resolve(store, "me", {"conversation": begun.id, "input": "more"})
    assert [item["role"] for item in found.document["input"]] == ["user", "assistant", "user"]
    kept = store.conversation("me", begun.id)
    assert kept is not None
    store.remove("me", kept, "msg_9")
    assert [item["role"] for item in kept.all_items()] == ["user"]
    assert store.end("me", begun.id)
    assert not store.end("me", begun.id)
    assert store.size == 0


def test_deleting_an_answer_deletes_its_items() -> None:
    store = ResponseStore()
    store.keep("me", [HI], answer(1))
    assert store.delete("me", "resp_1")
    assert store.item("me", "msg_1") is None
    assert store.size == 0


def test_answers_are_removed_by_age_and_size() -> None:
    clock = Clock(0.0)
    store = ResponseStore(ttl=10, max_bytes=4000, clock=clock)
    store.keep("me", [HI], answer(1))
    clock.now = 9
    assert store.response("me", "resp_1") is not None  # using an answer resets its age
    clock.now = 18
    assert store.response("me", "resp_1") is not None
    clock.now = 30
    assert store.response("me", "resp_1") is None
    assert store.item("me", "msg_1") is None
    for number in range(50):
        store.keep("me", [HI], answer(number))
    assert store.response("me", "resp_0") is None
    assert store.response("me", "resp_49") is not None
    assert store.size <= 4000
    store.keep("me", [HI], answer(99, "x" * 4000))
    assert store.response("me", "resp_99") is None


def test_a_bounded_map_reports_what_it_removes() -> None:
    gone: list[str] = []
    held: BoundedMap[int] = BoundedMap(max_entries=2, removed=lambda key, value: gone.append(key))
    for name in ("a", "b"):
        held.put(name, 1, 10)
    held.get("a")
    held.put("c", 1, 10)
    assert gone == ["b"]
    held.put("a", 2, 30)
    assert gone == ["b", "a"]
    assert (held.get("a"), len(held), held.size) == (2, 2, 40)


def restored(store: ResponseStore, **more: Any) -> ResponseStore:
    other = ResponseStore(**more)
    other.load(orjson.loads(orjson.dumps(store.dump())))
    return other


def test_answers_and_conversations_survive_a_restart() -> None:
    clock = Clock(0.0)
    store = ResponseStore(ttl=100, clock=clock)
    store.keep("me", [HI], answer(1))
    clock.now = 90
    chain = resolve(store, "me", {"previous_response_id": "resp_1", "input": "more"}).document["input"]
    store.keep("me", chain, answer(2))
    begun = store.begin("me", [HI], {"room": "kitchen"})
    clock.now = 120
    dumped = store.dump()
    assert (
        len(dumped["texts"]) < sum(len(entry.get("input", ())) + 1 for entry in dumped["entries"]) + 2
    )  # texts are stored once and shared
    assert b"me" not in {entry["owner"].encode() for entry in dumped["entries"]}
    other = restored(store, ttl=100, clock=clock)
    first = other.response("me", "resp_1")
    assert first is not None
    assert first.items() == [*store.response("me", "resp_1").items()]  # type: ignore[union-attr]  # it is there
    assert other.item("me", "msg_2") == answer(2)["output"][0]
    assert other.response("you", "resp_1") is None
    again = other.conversation("me", begun.id)
    assert again is not None
    assert (again.document(), again.all_items()) == (begun.document(), begun.all_items())
    assert other.size == store.size
    clock.now = 195  # ages survive the restart: an answer last used at 90 is removed, one used just now is not
    third = restored(store, ttl=100, clock=clock)
    assert third.response("me", "resp_2") is None
    assert third.response("me", "resp_1") is not None


def test_only_the_newest_survive_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_DUMP", 4000)
    clock = Clock(0.0)
    store = ResponseStore(clock=clock)
    for number in range(9):
        clock.now += 1
        store.keep("me", [], answer(number, "x" * 500))
    other = restored(store, clock=clock)
    assert other.response("me", "resp_8") is not None
    assert other.response("me", "resp_0") is None
    assert len(orjson.dumps(store.dump())) < 8000


@pytest.mark.parametrize("state", [{}, {"saved_at": 1, "texts": [], "entries": [{"age": 1}]},
                                   {"saved_at": 1, "texts": [1], "entries": [{"age": 1, "owner": "a", "id": "b",
                                    "input": [7], "response": [0], "output": []}]},
                                   {"saved_at": "x"}, {"saved_at": 1, "texts": 5, "entries": 5}])  # fmt: skip
def test_an_unreadable_state_is_ignored(state: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = ResponseStore()
    store.load(state)
    assert store.size == 0
    assert "cannot be read" in caplog.text
