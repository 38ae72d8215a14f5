"""Exchanges that go through the whole recorder, and what is on disk then."""

import gzip
import json
import os
import threading
import time
from pathlib import Path

import pytest

from openai_proxy.exchange import Caller, Outcome
from openai_proxy.records.recording.entry import LINES
from openai_proxy.records.recording.recorder import HASTE, MANY_CALLERS, Recorder
from openai_proxy.records.recording.recorder_thread import RecordWriter
from openai_proxy.records.recording.service import Records
from openai_proxy.secrets import vault
from tests.records.conftest import DONE, JSON, SSE, Desk, event, exchange

ANSWER = json.dumps(
    {
        "id": "c1",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }
).encode()


def test_a_plain_answer_is_a_request_line_and_a_response_line(desk: Desk) -> None:
    asked = desk.ask(ANSWER, session_id="s1")
    request, response = desk.lines()
    assert [p.name for p in desk.files()] == ["gpt-4o_s1.jsonl"]
    assert (request["type"], response["type"]) == ("request", "response")
    assert request["messages"] == [{"role": "user", "content": "hi"}]
    for record in (request, response):
        assert record["request_id"] == asked.id
        assert record["conversation_id"] == "s1"
        assert record["model"] == "gpt-4o"
        assert record["ts"].endswith("Z")
    assert response["content"] == "hello"
    assert response["tool_calls"] == []
    assert response["finish_reason"] == "stop"
    assert response["usage"] == {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    assert response["duration_ms"] >= response["ttft_ms"] >= 0
    assert response["finish"] == "done"
    assert desk.files()[0].stat().st_mode & 0o777 == 0o600


def test_a_long_stream_is_folded_as_it_comes(desk: Desk) -> None:
    words = [f"word{n} " for n in range(2000)]
    stream = b"".join([*map(event, words), event(finish="stop"), event(usage={"prompt_tokens": 3}, choices=[]), DONE])
    desk.ask(stream, headers=SSE, cut=1000)
    response = desk.response()
    assert response["content"] == "".join(words)
    assert response["finish_reason"] == "stop"
    assert response["usage"] == {"prompt_tokens": 3}


def test_the_text_that_a_client_got_before_it_left_is_kept(desk: Desk) -> None:
    desk.ask(event("half an ") + event("ans"), headers=SSE, outcome=Outcome.CLIENT_CLOSED)
    response = desk.response()
    assert (response["content"], response["finish"]) == ("half an ans", "client_closed")
    assert response["finish_reason"] is None


def test_an_upstream_error_is_an_error_line(desk: Desk) -> None:
    desk.ask(b'{"error": {"message": "slow down", "code": "rate"}}', status=429)
    request, error = desk.lines()
    assert (request["type"], error["type"], error["status"]) == ("request", "error", 429)
    assert error["error"]["message"] == "slow down"


def test_an_error_of_our_own_needs_no_response(desk: Desk) -> None:
    entry = desk.recorder.open(exchange())
    entry.request(b'{"messages": [{"role": "user", "content": "hi"}]}')
    entry.close(Outcome.ERROR, "upstream_timeout", "The provider is too slow.")
    entry.close(Outcome.DONE)
    _, error = desk.lines()
    assert (error["type"], error["code"], error["finish"]) == ("error", "upstream_timeout", "error")
    assert error["message"] == "The provider is too slow."


def test_a_stream_that_breaks_has_its_text_and_its_error(desk: Desk) -> None:
    about = exchange()
    entry = desk.recorder.open(about)
    entry.request(b'{"messages": []}')
    entry.response(200, SSE)
    entry.data(event("so far"))
    entry.close(Outcome.ERROR, "upstream_truncated")
    kinds = {record["type"]: record for record in desk.lines()}
    assert kinds["response"]["content"] == "so far"
    assert kinds["response"]["finish"] == "error"
    assert kinds["error"]["code"] == "upstream_truncated"


def test_a_tool_call_that_we_ran_is_a_line(desk: Desk) -> None:
    entry = desk.recorder.open(exchange())
    entry.request(b'{"messages": [{"role": "user", "content": "time?"}]}')
    entry.tool_call("get_current_time", {"timezone": "UTC"}, "12:00", 3.21, "ok", "call_1")
    entry.response(200, JSON)
    entry.data(ANSWER)
    entry.close(Outcome.DONE)
    (call,) = [record for record in desk.lines() if record["type"] == "tool_call"]
    assert call["tool"] == "get_current_time"
    assert call["arguments"] == {"timezone": "UTC"}
    assert (call["result"], call["duration_ms"], call["status"]) == ("12:00", 3.2, "ok")


def test_embeddings_are_not_a_conversation(desk: Desk) -> None:
    desk.ask(b'{"data": [{"embedding": [1, 2]}], "usage": {"prompt_tokens": 7}}', path="/embeddings")
    assert desk.lines() == []
    assert desk.recorder.metrics.tokens == {("gpt-4o", "openrouter", "input"): 7}


def test_known_secrets_are_not_written(desk: Desk) -> None:
    secrets = ['sk-canary-"quoted\\8461', "sk-canary-plain-5521"]
    vault.learn(secrets)
    for secret in secrets:
        desk.ask(
            event(f"your key is {secret}"),
            [{"role": "user", "content": f"my key is {secret}"}],
            headers=SSE,
            about=exchange(session_id=secret, model=f"m-{secret}", caller=Caller("::1", key_id="ab")),
        )
    lines = desk.lines()
    assert len(lines) == 4
    for path in desk.files():
        for secret in secrets:
            assert secret not in path.name
            assert secret.encode() not in path.read_bytes()
            assert json.dumps(secret)[1:-1].encode() not in path.read_bytes()
        assert b"REDACTED" in path.read_bytes()


def test_a_full_backlog_loses_lines_and_counts_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "logs")
    desk.recorder.close()
    stopped = Recorder(RecordWriter(tmp_path / "logs"), backlog=100_000)
    stopped.close()  # nothing is taken from the queue any more
    for _ in range(200):
        entry = stopped.open(exchange())
        entry.request(b"{}" + b" " * 1000)
        entry.response(200, SSE)
        entry.data(b"x" * 10_000)
        entry.close(Outcome.DONE)
    assert stopped.backlog < 250_000
    assert stopped.lost_lines() > 300
    assert stopped.active() == 0


def test_chores_run_when_they_are_due_even_if_the_thread_is_busy(tmp_path: Path) -> None:
    """When chores ran after a number of rounds, a kill could lose two seconds of usage."""
    writer = RecordWriter(tmp_path / "logs")
    recorder = Recorder(writer)
    recorder.close()
    dues: list[float | None] = [None, 0.8, 0.05, 0.0, None]
    times: list[float] = []

    def chore(now: bool) -> float | None:
        times.append(at)
        return dues.pop(0)

    writer.chores = (chore,)
    recorder._chores_at = 0.0
    for step in range(60):
        at = step / 100
        recorder._check_chores(at)
    assert times == [0.0, 0.2, 0.4, 0.45, 0.46]


def test_old_files_are_removed_if_configured(tmp_path: Path) -> None:
    records = Records(tmp_path / "logs", tmp_path / "state")
    (tmp_path / "logs").mkdir(exist_ok=True)
    for name in ("a_1.jsonl", "a_2.jsonl"):
        (tmp_path / "logs" / name).write_text("{}\n")
    os.utime(tmp_path / "logs" / "a_1.jsonl", (1, 1))
    for _ in range(3):
        records.configure(retention_days=30)
        assert records.recorder.flush()
    records.close()
    assert [p.name for p in (tmp_path / "logs").iterdir()] == ["a_2.jsonl"]


def test_an_exception_in_a_sink_is_counted_and_loses_no_line(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def broken(finished: object) -> None:
        raise RuntimeError("a defect")

    desk.writer.sinks = (broken,)
    desk.ask(ANSWER, session_id="s")
    assert len(desk.lines()) == 2
    assert desk.writer.failed == 1
    assert "a defect" in caplog.text
    desk.writer.failed = 0


def test_a_full_disk_does_not_affect_requests(desk: Desk) -> None:
    desk.directory.write_text("a file stands where the logs should be")
    for _ in range(3):
        desk.ask(ANSWER)
    assert desk.recorder.flush()
    assert desk.recorder.lost_lines() == 6
    assert desk.recorder.active() == 0


def test_an_idle_recorder_sleeps(desk: Desk) -> None:
    desk.ask(ANSWER)
    assert desk.recorder.flush()

    def used() -> int:
        before = time.process_time_ns()
        threading.Event().wait(0.3)
        return time.process_time_ns() - before

    # CPU time; the best of three, since other threads of the tests may still be ending.
    assert any(used() < 30_000_000 for _ in range(3))


def test_everything_is_written_at_the_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "logs")
    for n in range(500):
        desk.ask(ANSWER, session_id=f"s{n % 100}")
    desk.recorder.close()
    assert sum(len(p.read_bytes().splitlines()) for p in desk.directory.iterdir()) == 1000
    assert not desk.recorder.flush(0.1)


def test_compressed_answers_are_read_if_possible(desk: Desk) -> None:
    desk.ask(gzip.compress(ANSWER), headers=[*JSON, (b"Content-Encoding", b"gzip")], session_id="gz", cut=10)
    assert desk.response()["content"] == "hello"
    desk.ask(b"\x1b\x00", headers=[*JSON, (b"Content-Encoding", b"br")], session_id="br")
    (brotli,) = [r for r in desk.lines() if r["conversation_id"] == "br" and r["type"] == "response"]
    assert brotli["content"] == ""
    assert "could not be read" in brotli["note"]


def test_plain_exchanges_take_the_short_way_while_the_thread_is_behind(tmp_path: Path) -> None:
    """The general way is slower and keeps whole requests, so it would make the backlog grow."""
    records = Records(tmp_path / "logs", tmp_path / "state")
    recorder = records.recorder
    busy, gate = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        busy.set()
        assert gate.wait(30)

    recorder.writer.sinks = (hold,)
    body = json.dumps({"messages": [{"role": "user", "content": "long " * 700}]}).encode()

    def ask() -> None:
        entry = recorder.open(exchange())
        entry.request(body)
        entry.response(200, JSON)
        entry.data(ANSWER)
        entry.close(Outcome.DONE)

    try:
        ask()
        assert busy.wait(30)
        while recorder.backlog < 3 * HASTE:
            ask()
        assert {kind for kind, *_ in recorder._queue} == {LINES}
        assert recorder._hurried
        recorder.writer.sinks = ()
    finally:
        gate.set()
        records.close()
    assert recorder.lost == 0


def test_callers_with_nothing_waiting_are_forgotten_now_and_then(tmp_path: Path) -> None:
    """Searched at every end, the table of thousands of callers would cost more than the exchanges themselves."""
    recorder = Recorder(RecordWriter(tmp_path / "logs"))
    recorder.close()  # nothing is taken from the queue any more
    tables = []

    def end(number: int) -> None:
        entry = recorder.open(exchange(caller=Caller(f"192.168.{number // 250}.{number % 250}")))
        entry.response(500, JSON)
        entry.close(Outcome.DONE)
        if not tables or recorder._queued_until is not tables[-1]:
            tables.append(recorder._queued_until)

    for number in range(4 * MANY_CALLERS):
        end(number)
    assert len(recorder._queued_until) == 4 * MANY_CALLERS, "an item of each is waiting"
    assert len(tables) == 3, "the table was searched at 1,000 and at 2,000 callers"
    recorder._handled = recorder._offered
    end(0)
    assert list(recorder._queued_until) == ["192.168.0.0"]


def test_a_short_exchange_does_not_overtake_the_one_that_it_continues(desk: Desk) -> None:
    """The thread records the first because it has no usage; the second could be recorded at once."""
    first = json.loads(ANSWER)
    del first["usage"]
    opening = {"role": "user", "content": "hi"}
    for number in range(20):
        caller = Caller(f"10.0.0.{number}")
        desk.ask(json.dumps(first).encode(), [opening], caller=caller)
        desk.ask(ANSWER, [opening, {"role": "assistant", "content": "hello"}, opening], caller=caller)
    conversations: dict[str, int] = {}
    for line in desk.lines():
        conversations[line["conversation_id"]] = conversations.get(line["conversation_id"], 0) + 1
    assert list(conversations.values()) == [4] * 20


def test_the_thread_survives_a_line_that_cannot_be_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(desk.writer.lines, "flush", broken)
    desk.ask(ANSWER, session_id="s1")
    assert desk.recorder.flush()
    desk.ask(ANSWER, session_id="s2")
    assert {line["conversation_id"] for line in desk.lines()} == {"s1", "s2"}
    monkeypatch.undo()
    assert desk.recorder.flush()
    assert desk.writer.failed > 0
    desk.writer.failed = 0  # the fixture expects no failures
