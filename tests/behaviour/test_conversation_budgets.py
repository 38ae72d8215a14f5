"""An open realtime conversation ends once its caller's budget is spent, with what a new request would be told."""

import json
from typing import Any

import pytest

from tests.behaviour.test_budgets import KEY, ask, chat, conf, settled
from tests.conftest import DaemonFactory
from tests.front.test_websocket import echoing, knock
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.upstream import Peer, Upstream
from tests.harness.waiting import eventually
from tests.harness.websocket import CLOSE, TEXT, frame, take, upgrade
from tests.harness.wire import Wire

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}  # 0.06
DONE = json.dumps({"type": "response.done", "response": {"id": "r", "usage": USAGE}}).encode()
CREATED = b'{"type": "response.created", "response": {"id": "r"}}'
CANCELLED = b'{"type": "response.done", "response": {"id": "r", "status": "cancelled", "usage": null}}'
AUDIO = b'{"type": "input_audio_buffer.append", "audio": "AAAA"}'
SPENT = "The budget of 0.1 USD for today is spent. It starts again tomorrow."


def conversation(daemon: Daemon, upstream: Upstream, got: list[tuple[int, bytes]], key: str = KEY) -> Wire:
    """An open conversation whose provider echoes; `got` is what it gets."""
    wire, _ = knock(daemon, echoing(upstream, got), "/v1/realtime?model=priced-voice", key=key)
    assert wire.read_head(method="GET").status == 101
    return wire


def say(wire: Wire, message: bytes) -> None:
    """The provider says `message`, and the client gets it."""
    wire.send(frame(TEXT, message, masked=True))
    assert take(wire.read_exactly) == (TEXT, message)


def ended(wire: Wire) -> dict[str, Any]:
    """The error event with which the conversation ends, and nothing else before or after it."""
    kind, data = take(wire.read_exactly)
    assert kind == TEXT
    event = json.loads(data)
    assert (event["type"], event["event_id"][:6]) == ("error", "event_")
    error: dict[str, Any] = event["error"]
    assert take(wire.read_exactly) == (CLOSE, (1008).to_bytes(2) + error["message"].encode())
    assert wire.wait_closed() == b""
    return error


def test_the_answer_that_spends_the_budget_is_the_last_one(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(conf(upstream, cost_per_day=0.1))
    got: list[tuple[int, bytes]] = []
    wire = conversation(daemon, upstream, got)
    say(wire, DONE)
    settled(daemon, 0.06)
    say(wire, AUDIO)
    say(wire, DONE)
    error = ended(wire)
    assert error == {
        "type": "insufficient_quota", "code": "budget_exceeded", "message": SPENT, "param": None, "event_id": None,
    }  # fmt: skip
    refused = check_error(ask(daemon, "priced"), 402, "budget_exceeded")
    assert refused["message"] == error["message"]
    again, _ = knock(daemon, echoing(upstream, []), "/v1/realtime?model=priced-voice", key=KEY)
    assert check_error(again.answer(method="GET"), 402, "budget_exceeded") == refused
    again.close()
    wire.try_send(frame(TEXT, AUDIO, masked=True))
    wire.close()
    eventually(lambda: got[-1] == (CLOSE, (1000).to_bytes(2)), "the provider gets a close frame, too")
    assert [data for _, data in got[:-1]] == [DONE, AUDIO, DONE]
    eventually(lambda: daemon.clients() == 0, "the conversation is over")
    eventually(lambda: SPENT in daemon.stderr, "its line in the log tells why")


@pytest.mark.parametrize("spends", ["a request", "a conversation"])
def test_other_requests_of_the_key_end_it_between_two_answers(
    upstream: Upstream, make_daemon: DaemonFactory, spends: str
) -> None:
    daemon = make_daemon(conf(upstream, cost_per_day=0.1))
    idle, answering, foreign = (conversation(daemon, upstream, [], key) for key in (KEY, KEY, "sk-ben-0123456789"))
    for wire in (idle, answering, foreign):
        say(wire, CREATED)
    say(idle, CANCELLED)
    if spends == "a request":
        assert ask(daemon, upstream.play(chat(cost=0.2), name="told").model).status == 200
    else:
        third = conversation(daemon, upstream, [])
        third.send(frame(TEXT, DONE, masked=True) * 2)
        assert [take(third.read_exactly)[1] for _ in range(2)] == [DONE, DONE]
        assert ended(third)["code"] == "budget_exceeded"
    assert ended(idle)["message"] == SPENT
    say(answering, AUDIO)
    say(answering, CANCELLED)
    assert ended(answering)["message"] == SPENT
    say(foreign, DONE)


def test_an_answer_that_begins_after_the_budget_was_spent_is_not_waited_for(
    upstream: Upstream, make_daemon: DaemonFactory
) -> None:
    play = upstream.play()

    async def answers(peer: Peer) -> None:
        await upgrade(peer, play.requests[-1])
        await peer.send(frame(TEXT, DONE, masked=False) + frame(TEXT, CREATED, masked=False))

    play.steps = (answers, plays.HOLD)
    daemon = make_daemon(conf(upstream, cost_per_day=0.05))
    wire, _ = knock(daemon, play, "/v1/realtime?model=priced-voice", key=KEY)
    wire.read_head(method="GET")
    assert [take(wire.read_exactly)[1] for _ in range(2)] == [DONE, CREATED]
    assert ended(wire)["code"] == "budget_exceeded"


def test_a_budget_that_was_raised_meanwhile_counts(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(conf(upstream, cost_per_day=0.1))
    wire = conversation(daemon, upstream, [])
    daemon.edit_conf(lambda present: present.update(conf(upstream, cost_per_day=0.15)))
    for _ in range(2):
        say(wire, DONE)
    settled(daemon, 0.12)
    say(wire, AUDIO)
    say(wire, DONE)
    assert ended(wire)["message"] == SPENT.replace("0.1 USD", "0.15 USD")


def test_tokens_of_the_day_end_it_and_those_of_the_minute_do_not(
    upstream: Upstream, make_daemon: DaemonFactory
) -> None:
    daemon = make_daemon(conf(upstream, tokens_per_day=45, tokens_per_minute=15))
    wire = conversation(daemon, upstream, [])
    for _ in range(2):
        say(wire, DONE)
        eventually(lambda: ask(daemon, "priced").status == 429, "the minute is used up")
        say(wire, AUDIO)
    say(wire, DONE)
    error = ended(wire)
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "The limit of 45 tokens a day is reached." in error["message"]


WHOLE = frame(TEXT, b"a message of the provider", masked=False)
PARTS = {
    "a frame": (WHOLE[:9], WHOLE[9:]),
    "a fragmented message": (b"\x01" + frame(TEXT, b"a message ", masked=False)[1:],
                             b"\x80" + frame(TEXT, b"of the provider", masked=False)[1:]),
}  # fmt: skip


@pytest.mark.parametrize("unfinished", PARTS)
def test_the_error_does_not_come_in_the_middle_of(
    upstream: Upstream, make_daemon: DaemonFactory, unfinished: str
) -> None:
    gate, play = upstream.gate(), upstream.play()
    first, rest = PARTS[unfinished]

    async def answers(peer: Peer) -> None:
        await upgrade(peer, play.requests[-1])
        await peer.send(frame(TEXT, DONE, masked=False) + first)
        await gate.passed()
        await peer.send(rest)

    play.steps = (answers, plays.HOLD)
    daemon = make_daemon(conf(upstream, cost_per_day=0.05))
    wire, _ = knock(daemon, play, "/v1/realtime?model=priced-voice", key=KEY)
    wire.read_head(method="GET")
    assert take(wire.read_exactly) == (TEXT, DONE)
    settled(daemon, 0.06)
    check_error(ask(daemon, "priced"), 402)
    gate.open()
    assert wire.read_exactly(len(first + rest)) == first + rest
    assert ended(wire)["code"] == "budget_exceeded"
