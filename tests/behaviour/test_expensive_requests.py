"""A request designed to be expensive takes little processor time, and the next one is answered."""

import json

import pytest

from tests.behaviour.work import computed_by
from tests.harness.daemon import Daemon
from tests.harness.plays import head, plain
from tests.harness.upstream import Upstream

ENOUGH = 3.0
"""Seconds of processor time, including recording; a pattern that restarted at every tag took 30 and 120."""

HARD = {
    "one text": "<think>" * 37_000,
    "two parts": [{"type": "text", "text": "<think>" * 36_000}, {"type": "text", "text": "<think>" * 36_000}],
    "tags after backticks": "`<think>" * 32_000,
    "pairs": "<think></think>" * 17_000,
    "beginnings of commands": "!/a( " * 50_000,
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_an_expensive_message(daemon: Daemon, upstream: Upstream, name: str, path: str) -> None:
    messages = [
        {"role": "user", "content": HARD[name]},
        {"role": "assistant", "content": HARD[name]},
        {"role": "user", "content": "And now?"},
    ]
    model = upstream.play(plain(b"{}")).model
    before = computed_by(daemon.process.pid)
    answer = daemon.chat(model, messages=messages, path=path)
    assert answer.complete
    assert daemon.get("/health").status == 200
    assert computed_by(daemon.process.pid) - before < ENOUGH


@pytest.mark.parametrize("stream", [False, True])
def test_an_expensive_answer(daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    text = "<think></think>" * 17_000 + "<think>"
    if stream:
        event = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}
        body = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"
        play = upstream.play(
            head("200 OK", {"Content-Type": "text/event-stream", "Content-Length": str(len(body))}), body
        )
    else:
        play = upstream.play(plain(json.dumps({"choices": [{"message": {"content": text}}]}).encode()))
    before = computed_by(daemon.process.pid)
    assert daemon.chat(play.model, stream=stream).complete
    assert daemon.get("/health").status == 200
    assert computed_by(daemon.process.pid) - before < ENOUGH


def test_an_upstream_head_that_consists_of_spaces(daemon: Daemon, upstream: Upstream) -> None:
    fields = {"Content-Type": "application/json" + " " * 60_000 + ";", "Content-Length": "2"}
    play = upstream.play(head("200 OK", fields), b"{}")
    before = computed_by(daemon.process.pid)
    assert daemon.chat(play.model).status in {200, 502}
    assert daemon.get("/health").status == 200
    assert computed_by(daemon.process.pid) - before < ENOUGH
