"""Contract §4 on the wire: the grammar of streams, status, and how answers fail before and after their start."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.grammar import check
from tests.agent.support import call_deltas, chunk, events, says, usage_event
from tests.augmented.talk import CLIENT_TOOL, MODE_IDS, MODES, ask, asks, chat, checked, conversation, request, sse
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import FIN, HOLD, LAST, RST, SSE_HEAD, head, plain
from tests.harness.upstream import Upstream

both_modes = pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)

CALL = ("c1", "double", '{"number":21}')
ROLE = chunk({"role": "assistant", "content": ""})
END = chunk({}, "stop")


def text(piece: str, **more: Any) -> dict[str, Any]:
    return chunk({"content": piece}, **more)


def on_the_wire(events_: bytes, size: int) -> bytes:
    """A streamed answer cut into HTTP chunks of `size` bytes."""
    return SSE_HEAD + b"".join(plays.chunk(events_[i : i + size]) for i in range(0, len(events_), size)) + LAST


@pytest.fixture(autouse=True)
def a_good_word_after_each_test(augmented_daemon: Daemon, upstream: Upstream) -> Iterator[None]:
    """Five consecutive failures of a model open its breaker; a good answer in between resets the count."""
    yield
    assert (
        ask(augmented_daemon, "augmented/tools", conversation(upstream, "ok", stream=True), stream=True).status == 200
    )


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
MIXED = call_deltas(("c1", "theirs", '{"a":1}'), ("c2", "theirs", ""))
ODDITIES: dict[str, tuple[bytes, str, int]] = {
    "plain": (says("Héllo 🚀"), "Héllo 🚀", 0),
    "usage with choices": (events(ROLE, text("Hi"), {**END, "usage": USAGE}), "Hi", 0),
    "finish repeated with usage": (events(text("Hi"), END, {**END, "usage": USAGE}), "Hi", 0),
    "no DONE": (events(ROLE, text("Hi"), END, usage_event(), done=False), "Hi", 0),
    "no role": (events(text("Hi"), END), "Hi", 0),
    "role in every delta": (
        events(chunk({"role": "assistant", "content": "H"}), chunk({"role": "assistant", "content": "i"}), END),
        "Hi",
        0,
    ),
    "comments": (b": OPENROUTER PROCESSING\n\n" + events(ROLE, text("Hi"), END), "Hi", 0),
    "crlf": (events(ROLE, text("Hi"), END).replace(b"\n", b"\r\n"), "Hi", 0),
    "no space after the colon": (events(ROLE, text("Hi"), END).replace(b"data: ", b"data:"), "Hi", 0),
    "event and id lines": (b"event: message\nid: 7\n" + events(ROLE, text("Hi"), END), "Hi", 0),
    "finish with the content": (events(ROLE, chunk({"content": "Hi"}, "stop")), "Hi", 0),
    "two calls in one chunk": (
        events(chunk({"tool_calls": [MIXED[0]["tool_calls"][0], MIXED[-1]["tool_calls"][0]]}), chunk({}, "stop")),
        "",
        2,
    ),
    "calls without index or id": (
        events(chunk({"tool_calls": [{"function": {"name": "theirs", "arguments": "{}"}}]}), chunk({}, "tool_calls")),
        "",
        1,
    ),
    "text and calls": (events(ROLE, text("Hi"), *map(chunk, MIXED), chunk({}, "tool_calls"), usage_event()), "Hi", 2),
    "content as a list": (events(chunk({"content": [{"type": "text", "text": "Hi"}]}), END), "Hi", 0),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("name", ODDITIES)
def test_whatever_providers_send_the_grammar_is_kept(
    augmented_daemon: Daemon, upstream: Upstream, name: str, size: int
) -> None:
    data, content, calls = ODDITIES[name]
    play = upstream.rounds(on_the_wire(data, size))
    seen = chat(augmented_daemon, "tools", play, stream=True, tools=[CLIENT_TOOL])
    assert (seen.content, len(seen.calls)) == (content, calls)
    assert seen.finish == ("tool_calls" if calls else "stop")
    assert seen.usage is None, "usage was sent although the client did not ask for it"


@pytest.mark.parametrize("asked", [True, False])
def test_usage_is_sent_only_on_request(augmented_daemon: Daemon, upstream: Upstream, asked: bool) -> None:
    play = conversation(upstream, "Hello", stream=True)
    seen = chat(augmented_daemon, "tools", play, stream=True, usage_asked=asked)
    assert (seen.usage is not None) == asked
    assert play.bodies()[0]["stream_options"] == {"include_usage": True}, (
        "the proxy always needs usage for limits and records"
    )


def test_reasoning_in_the_text_is_moved(augmented_daemon: Daemon, upstream: Upstream) -> None:
    for model, reasoning in (("tools", "Hm"), ("strip", "")):
        play = conversation(upstream, "<think>Hm</think>Hello", stream=True)
        seen = chat(augmented_daemon, model, play, stream=True)
        assert (seen.content.strip(), seen.reasoning.strip()) == ("Hello", reasoning)


STATES = ["calling_llm", "executing_tool", "tool_completed", "processing_results"]


@pytest.mark.parametrize("model", ["tools", "off", "reasoning"])
def test_status_in_its_three_styles(augmented_daemon: Daemon, upstream: Upstream, model: str) -> None:
    play = conversation(upstream, [CALL], "42.", stream=True)
    seen = chat(augmented_daemon, model, play, stream=True)
    assert seen.content == "42."
    told_ = [(status["status"], status.get("tool_name")) for status in seen.statuses]
    if model == "tools":
        assert [state for state, _ in told_][:4] == STATES
        assert ("executing_tool", "double") in told_
        assert ("tool_completed", "double") in told_
    else:
        assert told_ == []
        assert ("double" in seen.reasoning) == (model == "reasoning")


def test_status_is_sent_while_the_tool_runs(augmented_daemon: Daemon, upstream: Upstream, tmp_path: Path) -> None:
    """The tool may only continue once the client has read that it is running."""
    play = conversation(upstream, [("c1", "gate", json.dumps({"folder": str(tmp_path)}))], "Open.", stream=True)
    with augmented_daemon.wire() as wire:
        request(wire, "augmented/tools", play, stream=True).read_head()
        before = wire.read_until(b'"executing_tool"')
        assert not (tmp_path / "go").exists()
        (tmp_path / "go").touch()
        answer = wire.read_rest(before=before)
    seen = check(answer.body, model="augmented/tools")
    assert seen.content == "Open."


def test_text_is_streamed_as_it_arrives(augmented_daemon: Daemon, upstream: Upstream) -> None:
    gates = [upstream.gate() for _ in range(3)]
    steps: list[plays.Step] = [SSE_HEAD, plays.chunk(events(ROLE, done=False))]
    for number, gate in enumerate(gates):
        steps += [plays.chunk(events(text(f"word{number} "), done=False)), gate]
    play = upstream.play(*steps, plays.chunk(events(END)), LAST)
    with augmented_daemon.wire() as wire:
        request(wire, "augmented/tools", play, stream=True).read_head()
        for number, gate in enumerate(gates):
            wire.read_until(f"word{number} ".encode())
            gate.open()
        assert wire.read_rest().complete


def test_nothing_is_sent_before_the_provider_has_answered(augmented_daemon: Daemon, upstream: Upstream) -> None:
    """Before that, errors are HTTP errors."""
    gate = upstream.gate()
    play = upstream.play(gate, plain(b'{"error":{"message":"no such model","code":"x"}}', "404 Not Found"))
    with augmented_daemon.wire() as wire:
        request(wire, "augmented/tools", play, stream=True)
        play.wait()
        gate.open()
        answer = wire.answer()
    assert answer.status == 404
    assert answer.json()["error"]["message"] == "no such model"


@both_modes
@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "500 Oops", "503 Busy"])
def test_the_providers_errors_pass_unchanged(
    augmented_daemon: Daemon, upstream: Upstream, status: str, stream: bool
) -> None:
    body = b'{"error":{"message":"boom","type":"t","param":null,"code":"c"},"extra":1}'
    play = upstream.rounds(plain(body, status, Retry_After="7", X_Request_Id="up-7"))
    answer = ask(augmented_daemon, "augmented/tools", play, stream=stream)
    assert (answer.status, answer.body) == (int(status[:3]), body)
    assert answer.header("retry-after") == "7"
    assert answer.header("x-request-id") == "up-7"
    assert answer.header("x-should-retry") is None, "no tool has run, so a retry must not be discouraged"


BEFORE = {
    "closed": ((FIN,), 502, "upstream_disconnected"),
    "reset": ((RST,), 502, "upstream_disconnected"),
    "not http": ((b"SSH-2.0-dropbear\r\n", FIN), 502, "upstream_invalid_response"),
    "our key refused": ((plain(b'{"error":{"message":"bad key"}}', "401 Unauthorized"),), 502, "upstream_auth"),
    "a redirect": ((head("302 Found", {"Location": "/x", "Content-Length": "0"}),), 502, "upstream_redirect"),
}  # fmt: skip


@both_modes
@pytest.mark.parametrize("name", BEFORE)
def test_failures_before_the_start_are_http_errors(
    augmented_daemon: Daemon, upstream: Upstream, name: str, stream: bool
) -> None:
    steps, status, code = BEFORE[name]
    error = check_error(ask(augmented_daemon, "augmented/tools", upstream.play(*steps), stream=stream), status, code)
    assert "main" in error["message"], "the message must name the connection"


@both_modes
def test_a_provider_too_slow_to_answer(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    check_error(ask(augmented_daemon, "augmented/brisk", upstream.play(HOLD), stream=stream), 504, "upstream_timeout")


HALF = plays.chunk(events(ROLE, text("Hello"), done=False))
MIDDLE: dict[str, tuple[plays.Step, ...]] = {
    "closed": (SSE_HEAD, HALF, FIN),
    "reset": (SSE_HEAD, HALF, RST),
    "no finish_reason": (SSE_HEAD, HALF, LAST),
    "DONE without finish_reason": (SSE_HEAD, HALF, plays.chunk(b"data: [DONE]\n\n"), LAST),
    "an error in band": (SSE_HEAD, HALF, plays.chunk(events({"error": {"message": "overloaded", "code": 529}})), LAST),
    "openrouter's error": (
        SSE_HEAD, HALF, plays.chunk(events({**chunk({}, "error"), "error": {"message": "x", "code": 400}})), LAST,
    ),
    "groq's error": (
        SSE_HEAD, HALF, plays.chunk(b'event: error\ndata: {"error":{"message":"x"}}\n\n'), LAST,
    ),
    "finish_reason error": (SSE_HEAD, HALF, plays.chunk(events(chunk({}, "error"))), LAST),
    "not json": (SSE_HEAD, HALF, plays.chunk(b"data: {oops\n\n"), LAST),
    "a bad chunk size": (SSE_HEAD, HALF, b"zz\r\n", FIN),
}  # fmt: skip


@pytest.mark.parametrize("name", MIDDLE)
def test_a_broken_stream_ends_with_one_error_and_no_done(
    augmented_daemon: Daemon, upstream: Upstream, name: str
) -> None:
    answer = ask(augmented_daemon, "augmented/tools", upstream.play(*MIDDLE[name]), stream=True)
    seen = checked(answer, "augmented/tools", stream=True)
    assert seen.error is not None
    assert seen.content in ("Hello", "")
    assert (seen.done, seen.finish) == (False, None)
    assert "127.0.0.1" not in seen.error["message"]


def test_a_stalled_stream_ends_with_an_error(augmented_daemon: Daemon, upstream: Upstream) -> None:
    answer = ask(augmented_daemon, "augmented/idle", upstream.play(SSE_HEAD + HALF, HOLD), stream=True)
    error = checked(answer, "augmented/idle", stream=True).error
    assert error is not None
    assert error["code"] == "upstream_idle_timeout"


BROKEN_BODIES: dict[str, tuple[plays.Step, ...]] = {
    "cut": (head("200 OK", {"Content-Type": "application/json", "Content-Length": "1000"}), b'{"choices":[', FIN),
    "not json": (plain(b"<html>"),),
    "no choices": (plain(b'{"choices":[]}'),),
    "an error with 200": (plain(b'{"error":{"message":"boom"}}'),),
    "no finish_reason": (plain(b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}]}'),),
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
def test_a_broken_completion_is_an_error(augmented_daemon: Daemon, upstream: Upstream, name: str) -> None:
    answer = ask(augmented_daemon, "augmented/tools", upstream.play(*BROKEN_BODIES[name]), stream=False)
    assert answer.status == 502
    check_error(answer, 502)


LATER = {
    "refused": (plain(b'{"error":{"message":"too long"}}', "400 Bad Request"),),
    "busy": (plain(b'{"error":{"message":"busy"}}', "503 Busy"),),
    "closed": (FIN,),
}


@both_modes
@pytest.mark.parametrize("name", LATER)
def test_after_a_tool_has_acted_a_retry_is_discouraged(
    augmented_daemon: Daemon, upstream: Upstream, name: str, stream: bool
) -> None:
    play = upstream.rounds(asks(CALL, stream=stream), LATER[name], LATER[name])  # a closed idle connection is replaced
    answer = ask(augmented_daemon, "augmented/tools", play, stream=stream)
    if stream:
        assert checked(answer, "augmented/tools", stream=True).error is not None
    else:
        assert answer.status >= 400
        assert answer.header("x-should-retry") == "false"
        assert answer.header("x-proxy-attempts") is None, "rounds must not be counted as attempts"
        assert answer.json()["error"]["message"]


@both_modes
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    "body", [b"<html><title>Bad gateway</title></html>", b"", b"{}", b'{"error": {}}'], ids=["html", "none", "{}", "no"]
)
def test_an_error_without_a_message_becomes_a_sentence(
    augmented_daemon: Daemon, upstream: Upstream, path: str, body: bytes, stream: bool
) -> None:
    play = upstream.play(plain(body, "418 Odd", "text/html"))
    with augmented_daemon.wire() as wire:
        answer = request(wire, "augmented/tools", play, stream=stream, path=path, max_tokens=50).answer()
    assert answer.status == 418
    assert answer.json()["error"]["message"] == "The connection 'main' answered with status 418."


def test_a_provider_that_answers_a_stream_request_with_json(augmented_daemon: Daemon, upstream: Upstream) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
    play = upstream.play(plain(json.dumps(body).encode()))
    assert chat(augmented_daemon, "tools", play, stream=True).content == "Hello"


def test_a_provider_that_streams_although_not_requested(augmented_daemon: Daemon, upstream: Upstream) -> None:
    assert chat(augmented_daemon, "tools", upstream.play(sse(says("Hello"))), stream=False).content == "Hello"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "Hi"},
        {"messages": [1]},
        {"tools": "all"},
        {"tools": [1]},
        {"messages": None},
    ],
    ids=str,
)
def test_invalid_requests_are_400_or_left_to_the_provider(
    augmented_daemon: Daemon, upstream: Upstream, body: dict[str, Any]
) -> None:
    play = upstream.play(plain(b'{"error":{"message":"what?"}}', "400 Bad Request"))
    assert ask(augmented_daemon, "augmented/tools", play, stream=True, **body).status == 400
