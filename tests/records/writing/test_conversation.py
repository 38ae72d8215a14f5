"""Which requests belong to one conversation."""

from typing import Any

from openai_proxy.exchange import Caller
from openai_proxy.records.writing.conversation import BULK, MANY, Conversations
from tests.records.conftest import JSON, SSE, Desk, event, exchange

HI = {"role": "user", "content": "hi"}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_session_names_of_clients_are_used_in_order(desk: Desk) -> None:
    desk.ask(event("a"), headers=SSE, session_id="head", body={"metadata": {"session_id": "meta"}, "user": "u"})
    desk.ask(event("a"), headers=SSE, body={"metadata": {"session_id": "meta"}, "user": "u"})
    desk.ask(event("a"), headers=SSE, body={"user": "u"})
    ids = [record["conversation_id"] for record in desk.lines() if record["type"] == "request"]
    assert sorted(ids) == ["head", "meta", "u"]


def test_a_follow_up_that_quotes_the_first_answer_is_the_same_conversation(desk: Desk) -> None:
    desk.ask(event("hello ") + event("you"), [HI], headers=SSE)
    follow = [HI, answer(" hello you\n"), {"role": "user", "content": [{"type": "text", "text": "more"}]}]
    desk.ask(event("sure"), follow, headers=SSE)
    desk.ask(event("ok"), [*follow, answer("sure"), HI], headers=SSE)
    assert len({record["conversation_id"] for record in desk.lines()}) == 1
    assert len(desk.files()) == 1


def test_thoughts_in_the_text_do_not_split_a_conversation(desk: Desk) -> None:
    desk.ask(event("<think>hm\nhm</think>\n\nhello"), [HI], headers=SSE)
    desk.ask(event("x"), [HI, answer("hello"), HI], headers=SSE)
    assert len(desk.files()) == 1


def test_a_first_answer_with_tool_calls_is_recognised(desk: Desk) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    desk.ask(event(delta={"tool_calls": [call]}), [HI], headers=SSE)
    quoted = {"role": "assistant", "content": None, "tool_calls": [call]}
    desk.ask(event("x"), [HI, quoted, {"role": "tool", "tool_call_id": "c", "content": "7"}], headers=SSE)
    assert len(desk.files()) == 1


def test_a_request_without_an_answer_starts_a_conversation(desk: Desk) -> None:
    for _ in range(3):
        desk.ask(event("hello"), [HI], headers=SSE)
    assert len({record["conversation_id"] for record in desk.lines()}) == 3


def test_another_caller_with_the_same_words_is_another_conversation(desk: Desk) -> None:
    desk.ask(event("hello"), [HI], headers=SSE, caller=Caller("10.0.0.1"))
    desk.ask(event("x"), [HI, answer("hello"), HI], headers=SSE, caller=Caller("10.0.0.2"))
    assert len(desk.files()) == 2


def test_a_conversation_keeps_its_name_over_a_restart(desk: Desk) -> None:
    follow = [HI, answer("before the restart"), HI]
    names = [Conversations().identify(exchange(), {}, follow)[0] for _ in range(2)]
    assert names[0] == names[1]


def test_the_responses_api_is_followed_by_its_ids(desk: Desk) -> None:
    body = b'{"id":"resp_1","model":"m","status":"completed","output":[]}'
    desk.ask(body, headers=JSON, path="/responses", body={"input": "hi"})
    desk.ask(body.replace(b"_1", b"_2"), headers=JSON, path="/responses", body={"previous_response_id": "resp_1"})
    desk.ask(body.replace(b"_1", b"_3"), headers=JSON, path="/responses", body={"previous_response_id": "resp_2"})
    assert len(desk.files()) == 1


def test_a_batch_job_does_not_fill_the_directory() -> None:
    now = [0.0]
    known = Conversations(clock=lambda: now[0])
    ids = {known.identify(exchange(), {}, [HI])[0] for _ in range(BULK * 5)}
    assert len(ids) == BULK
    now[0] += 60
    assert known.identify(exchange(), {}, [HI])[0] not in ids
    assert len({known.identify(exchange(caller=Caller(f"10.0.0.{n}")), {}, [HI])[0] for n in range(50)}) == 50


def test_memory_is_bounded() -> None:
    known = Conversations(limit=10)
    for n in range(100):
        known.answered(f"opening {n}", "c", "text", [], None)
    assert len(known._known) == 10


def test_the_beginning_of_a_conversation_is_remembered_by_its_digest() -> None:
    """A copy could have a hundred megabytes, made in one step and kept until the answer ends."""
    known, text = Conversations(), "word " * 30_000
    conversation, opening = known.identify(exchange(), {}, [{"role": "user", "content": text}])
    assert opening is not None
    assert len(opening) < 1000
    known.answered(opening, conversation, "hello", [], None)
    follow = [{"role": "user", "content": [{"type": "text", "text": text}]}, answer("hello"), HI]
    assert known.identify(exchange(), {}, follow)[0] == conversation
    follow[0] = {"role": "user", "content": text[:-1] + "s"}
    assert known.identify(exchange(), {}, follow)[0] != conversation


def test_long_ids_that_begin_alike_stay_apart() -> None:
    ids = {Conversations().identify(exchange(session_id="x" * 300 + end), {}, [])[0] for end in "ab"}
    assert len(ids) == 2
    assert all(len(name) <= 200 for name in ids)


def test_messages_of_any_shape_are_accepted() -> None:
    known = Conversations()
    for messages in (None, 7, [None], [{"role": 5}], [{"role": "user", "content": {"a": 1}}], [{"role": "assistant"}]):
        known.identify(exchange(), {"metadata": 3, "user": ["x"]}, messages)


def test_a_numeric_user_names_the_same_conversation_for_the_log_and_for_sessions(desk: Desk) -> None:
    from openai_proxy.transforms.sessions import named

    body = {"user": 7, "messages": [{"role": "user", "content": "hi"}]}
    desk.ask(b"{}", body=body)
    desk.ask(b"{}", body={**body, "messages": [{"role": "user", "content": "and now"}]})
    assert {line["conversation_id"] for line in desk.lines()} == {"7"}
    assert named("caller", None, body) == named("caller", None, {"user": "7"})


def test_a_client_cannot_fill_the_directory_by_naming_its_conversations() -> None:
    now = [0.0]
    known = Conversations(clock=lambda: now[0])
    own = {"user": "mine"}
    assert known.identify(exchange(), own, [HI])[0] == "mine"
    ids = {known.identify(exchange(), {"user": f"u{n}"}, [HI])[0] for n in range(BULK * 5)}
    quoting = {known.identify(exchange(), {}, [HI, answer(f"answer {n}")])[0] for n in range(BULK * 5)}
    assert len(ids | quoting) == BULK
    assert known.identify(exchange(), own, [HI])[0] == "mine"  # known conversations continue
    now[0] += 60
    assert known.identify(exchange(), {"user": "another"}, [HI])[0] == "another"


def test_a_conversation_in_use_is_not_forgotten() -> None:
    known = Conversations(clock=lambda: 0.0, limit=10)
    for n in range(BULK * 15):  # new ones from many callers, and "mine" again and again
        known.identify(exchange(caller=Caller(f"10.0.0.{n % 99}")), {"user": f"u{n}"}, [HI])
        assert known.identify(exchange(), {"user": "mine"}, [HI])[0] == "mine"
    assert known.identify(exchange(), {"user": "another"}, [HI])[0] == "another"  # "mine" was counted once


def test_a_client_cannot_fill_the_directory_slowly() -> None:
    now = [0.0]
    known = Conversations(clock=lambda: now[0])
    ids = set()
    for n in range(3 * MANY):
        if n % (BULK - 1) == 0:
            now[0] += 60
        ids.add(known.identify(exchange(), {"user": f"u{n}"}, [HI])[0])
    assert len(ids) <= MANY + 1
    now[0] += 86400
    assert known.identify(exchange(), {"user": "tomorrow"}, [HI])[0] == "tomorrow"


def test_calls_of_mcp_clients_without_a_session_share_a_file() -> None:
    known = Conversations(clock=lambda: 0.0)
    assert len({known.named(exchange(), f"req_{n}") for n in range(BULK * 3)}) <= BULK + 1
