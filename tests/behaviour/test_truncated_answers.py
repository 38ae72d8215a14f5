"""An answer that the provider broke off is never whole, in any API and by any finish reason; counts may be floats."""

import json
from typing import Any

import pytest

from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, event, plain, stream
from tests.harness.upstream import Upstream

DOORS: dict[str, dict[str, Any]] = {
    "/v1/messages": {"max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]},
    "/api/chat": {"messages": [{"role": "user", "content": "hi"}]},
    "/api/generate": {"prompt": "hi"},
    "/v1beta/models/{}:streamGenerateContent?alt=sse": {"contents": [{"parts": [{"text": "hi"}]}]},
}
ENDS: dict[str, dict[str, Any]] = {
    "error": {"finish_reason": "error"},
    "abort": {"finish_reason": "abort"},
    "native error": {"finish_reason": "stop", "native_finish_reason": "error"},
    "native, malformed": {"finish_reason": "stop", "native_finish_reason": "MALFORMED_FUNCTION_CALL"},
}
BROKEN = b"The provider broke off its answer."


def ask(daemon: Daemon, door: str, play: str, **more: Any) -> Any:
    return daemon.post(door.format(play), json.dumps({"model": play, **DOORS[door], **more}).encode())


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("end", ENDS)
def test_a_stream_that_breaks_off(daemon: Daemon, upstream: Upstream, door: str, end: str) -> None:
    said = {"index": 0, "delta": {"content": "hello"}, "finish_reason": None}
    last = {"index": 0, "delta": {"content": " you"}, **ENDS[end]}
    play = upstream.play(stream(event({"choices": [said]}), event({"choices": [last]}), DONE))
    answer = ask(daemon, door, play.model, stream=True)
    assert b"hello" in answer.body
    assert b" you" in answer.body
    assert BROKEN in answer.body
    for whole in (b"message_stop", b'"done":true', b'"finishReason":"STOP"'):
        assert whole not in answer.body


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("end", ENDS)
def test_a_whole_answer_that_breaks_off(daemon: Daemon, upstream: Upstream, door: str, end: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, **ENDS[end]}
    play = upstream.play(plain(json.dumps({"id": "x", "object": "chat.completion", "choices": [choice]}).encode()))
    if "{}" in door:
        answer = daemon.post(f"/v1beta/models/{play.model}:generateContent", json.dumps(DOORS[door]).encode())
    else:
        answer = ask(daemon, door, play.model, stream=False)
    assert answer.status == 502
    assert BROKEN in answer.body


def test_a_count_may_be_a_float(daemon: Daemon, upstream: Upstream) -> None:
    answer = json.dumps({"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}).encode()
    play = upstream.play(plain(answer))
    model = f"claude:{play.model}"
    body = json.dumps({"model": model, "input": "hi", "max_output_tokens": 150.0}).encode()
    daemon.post("/v1/responses", body)
    assert play.requests[-1].json()["max_tokens"] == 150
    assert b"150.0" not in play.requests[-1].body
    refused = daemon.post("/v1/responses", body.replace(b"150.0", b"1.5"))
    assert (refused.status, refused.json()["error"]["param"]) == (400, "max_output_tokens")
