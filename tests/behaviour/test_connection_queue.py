"""A connection that serves one request at a time: the order of requests, and what clients and the owner see."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import HOLD, completion, head, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Wire

GROUPS = ("high", "normal", "low")


@pytest.fixture(scope="module")
def configured_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = {
        "connections": {
            "gpu": {"api_base": upstream.url, "api_key": CANARY, "concurrency": 1, "max_retries": 1},
            "free": {"api_base": upstream.url, "api_key": CANARY},
        },
        "default_connection": "gpu",
        "require_api_key": True,
        "groups": {name: {"api_keys": [f"sk-{name}-key"], "priority": name} for name in GROUPS},
    }
    files = {
        "models/urgent.yaml": "name: urgent\nupstream_model: m\nsystem_prompt: Hi.\npriority: high\n",
        "models/timed.yaml": "name: timed\nupstream_model: m\nsystem_prompt: Hi.\ndeadline: 0.6\n",
    }
    with Daemon(tmp_path_factory.mktemp("line"), conf, files=files).serving() as daemon:
        yield daemon


def ask(configured_daemon: Daemon, play: str, who: str, text: str, model: str | None = None, **members: Any) -> Wire:
    body = {"model": model or play, "messages": [{"role": "user", "content": text}], **members}
    headers = [("X-Play", play)]
    return configured_daemon.wire().request(
        "POST", "/v1/chat/completions", body=json.dumps(body).encode(), headers=headers, key=f"sk-{who}-key"
    )


def queued(configured_daemon: Daemon) -> list[dict[str, Any]]:
    requests = configured_daemon.control("GET", "/admin/status").json()["requests"]
    return [request for request in requests if request["state"] == "queued"]


def text_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def test_twenty_wait_and_are_served_by_priority(configured_daemon: Daemon, upstream: Upstream) -> None:
    gate = upstream.gate()
    ok = plain(completion("ok"))
    play = upstream.rounds((gate, ok), *[ok] * 20)
    first = ask(configured_daemon, play.model, "low", "now")
    play.begun()
    names = [GROUPS[n % 3] for n in range(20)]
    random.Random(7).shuffle(names)
    waiting = []
    for number, name in enumerate(names):
        waiting.append(ask(configured_daemon, play.model, name, f"{name} {number}"))
        eventually(lambda n=number: len(queued(configured_daemon)) == n + 1, "the request is in the queue")  # type: ignore[misc]
    eventually(
        lambda: max(row["seconds"] for row in queued(configured_daemon)) > 0.1,
        "the first request has waited long enough to be logged",
    )
    gate.open()
    answers = [wire.answer() for wire in (first, *waiting)]
    assert [answer.status for answer in answers] == [200] * 21
    order = [text_of(body) for body in play.bodies()]
    expected = [f"{name} {number}" for group in GROUPS for number, name in enumerate(names) if name == group]
    assert order == ["now", *expected]
    assert answers[0].header("x-proxy-queued") is None
    assert all(float(answer.header("x-proxy-queued") or 0) > 0 for answer in answers[1:])
    eventually(
        lambda: sum("queued_ms" in line for line in configured_daemon.log_lines()) >= 20,
        "the chat log has the time in the queue",
    )
    eventually(lambda: " s in the queue]" in configured_daemon.stderr, "the console log shows the time in the queue")


def test_a_models_priority_may_exceed_its_callers(configured_daemon: Daemon, upstream: Upstream) -> None:
    gate = upstream.gate()
    ok = plain(completion("ok"))
    play = upstream.rounds((gate, ok), ok, ok)
    wires = [ask(configured_daemon, play.model, "low", "first")]
    play.begun()
    wires.append(ask(configured_daemon, play.model, "normal", "second"))
    eventually(lambda: len(queued(configured_daemon)) == 1, "the request is in the queue")
    wires.append(ask(configured_daemon, play.model, "low", "urgent", model="urgent"))
    eventually(lambda: len(queued(configured_daemon)) == 2, "both requests are in the queue")
    gate.open()
    answers = [wire.answer() for wire in wires]
    assert [text_of(body) for body in play.bodies()] == ["first", "urgent", "second"]
    assert float(answers[2].header("x-proxy-queued") or 0) > 0, "an answer of an augmented model has the header, too"


def test_a_request_that_leaves_the_queue_is_skipped(configured_daemon: Daemon, upstream: Upstream) -> None:
    gate = upstream.gate()
    ok = plain(completion("ok"))
    play = upstream.rounds((gate, ok), ok)
    first = ask(configured_daemon, play.model, "normal", "first")
    play.begun()
    leaver = ask(configured_daemon, play.model, "normal", "leaver")
    eventually(lambda: len(queued(configured_daemon)) == 1, "the request that will leave is in the queue")
    leaver.close()
    eventually(lambda: queued(configured_daemon) == [], "the request has left the queue")
    second = ask(configured_daemon, play.model, "normal", "second")
    eventually(lambda: len(queued(configured_daemon)) == 1, "the second request is in the queue")
    gate.open()
    assert (first.answer().status, second.answer().status) == (200, 200)
    assert [text_of(body) for body in play.bodies()] == ["first", "second"]


def test_time_in_the_queue_counts_towards_the_deadline(configured_daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(HOLD)
    first = ask(configured_daemon, play.model, "normal", "first")
    play.begun()
    answer = ask(configured_daemon, play.model, "high", "Wie spät ist es?", model="timed").answer()
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Das hat leider zu lange gedauert."
    assert float(answer.header("x-proxy-queued") or 0) > 0
    first.close()
    assert play.begun().gone()


def test_a_retry_does_not_wait_for_the_refusal_it_retries(configured_daemon: Daemon, upstream: Upstream) -> None:
    unended = head("503 Busy", {"Content-Length": "9", "Retry-After": "0"}) + b"busy"
    play = upstream.rounds((unended, HOLD), plain(completion("ok")))
    answer = ask(configured_daemon, play.model, "normal", "hi").answer()
    assert (answer.status, answer.header("x-proxy-attempts")) == (200, "2")


def test_requests_that_generate_nothing_do_not_wait(configured_daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(HOLD)
    first = ask(configured_daemon, play.model, "normal", "first")
    play.begun()
    embedding = upstream.play(plain(b'{"data":[]}'))
    body = json.dumps({"model": embedding.model, "input": "x"}).encode()
    assert configured_daemon.post("/v1/embeddings", body, key="sk-low-key").status == 200
    first.close()
    assert play.begun().gone()
