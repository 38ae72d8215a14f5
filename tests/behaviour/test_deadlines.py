"""A deadline ends whatever a turn is waiting for, in every API: the answer is a sentence, or an error."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import HOLD, SSE_HEAD, Step, chunk, completion, delta, head, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream

LATE = "Das hat leider zu lange gedauert."
QUESTION = "Wie spät ist es jetzt bitte?"

DOORS: dict[str, Any] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": QUESTION}]},
    "/v1/messages": {"max_tokens": 99, "messages": [{"role": "user", "content": QUESTION}]},
    "/v1/responses": {"input": QUESTION},
    "/api/chat": {"stream": False, "messages": [{"role": "user", "content": QUESTION}]},
    "/api/generate": {"stream": False, "prompt": QUESTION},
    "/v1beta/models/timed:generateContent": {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]},
}

LIMITED = head("429 Too Many Requests", {"Retry-After": "8", "Content-Length": "2"}) + b"{}"
BROKEN = head("503 Service Unavailable", {"Content-Length": "2"}) + b"{}"
HALF = head("200 OK", {"Content-Type": "application/json", "Content-Length": "900"}) + completion("hi")[:40]

WAITS: dict[str, tuple[Step, ...]] = {
    "no answer": (HOLD,),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Ty", HOLD),
    "half an answer": (HALF, HOLD),
    "Retry-After": (LIMITED,),
    "one failure after the other": (BROKEN,),
    "an error without end": (head("500 Oh", {"Content-Type": "text/plain", "Content-Length": "900"}) + b"x", HOLD),
}


@pytest.fixture(scope="module")
def configured_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = {
        "connections": {"main": connection(upstream.url, max_retries=9)},
        "default_connection": "main",
    }
    files = {"models/timed.yaml": "name: timed\nupstream_model: m\nsystem_prompt: Hallo.\ndeadline: 1\n"}
    with Daemon(tmp_path_factory.mktemp("deadline"), conf, files=files).serving() as daemon:
        yield daemon


def ask(configured_daemon: Daemon, play: Play, door: str, **more: Any) -> Any:
    body = json.dumps({"model": "timed", **DOORS[door], **more}).encode()
    return configured_daemon.post(door, body, headers=[("X-Play", play.model)])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("wait", WAITS)
def test_the_deadline_ends_whatever_is_awaited(
    configured_daemon: Daemon, upstream: Upstream, door: str, wait: str
) -> None:
    play = upstream.play(*WAITS[wait])
    answer = ask(configured_daemon, play, door)
    assert (answer.status, answer.complete) == (200, True)
    assert LATE in json.dumps(answer.json(), ensure_ascii=False)
    assert len(play.requests) < 9, "the pauses between attempts do not grow"


@pytest.mark.parametrize("door", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_stream_that_stalls_after_its_first_word_ends_in_an_error(
    configured_daemon: Daemon, upstream: Upstream, door: str
) -> None:
    play = upstream.play(SSE_HEAD, chunk(delta("Es ist")), HOLD)
    answer = ask(configured_daemon, play, door, stream=True)
    assert (answer.status, answer.complete) == (200, True)
    assert b"Es ist" in answer.body
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
    assert play.begun().gone()


def test_the_next_request_has_its_full_time(configured_daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Zehn.")))
    assert "Zehn." in json.dumps(ask(configured_daemon, play, "/v1/chat/completions").json())
