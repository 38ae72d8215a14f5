"""Contract §7: what is written to `logs/`, who may read it, and what is never written."""

import gzip
import json
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.configurations import front_conf, serving
from tests.harness import plays
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import (
    DONE,
    FIN,
    HOLD,
    LAST,
    SSE_HEAD,
    TWO,
    chunk,
    completion,
    delta,
    event,
    head,
    plain,
    stream,
)
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

KEY = "sk-logged-0123456789abcdef"


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = front_conf(upstream, groups={"family": {"api_keys": [KEY]}})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


def records(daemon: Daemon, model: str, *kinds: str) -> list[dict[str, Any]]:
    """The records of `model`, once there is one of each of `kinds`."""

    def found() -> list[dict[str, Any]]:
        lines = [line for line in daemon.log_lines() if line["model"] == model]
        return lines if set(kinds) <= {line["type"] for line in lines} else []

    return eventually(found, f"{kinds} of {model} are written")


def only(lines: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (line,) = [line for line in lines if line["type"] == kind]
    return line


def check_common(line: dict[str, Any], model: str) -> None:
    assert line["ts"].endswith(("Z", "+00:00"))
    assert line["request_id"]
    assert line["conversation_id"]
    assert line["model"] == model


FOLDED = [delta("Hello "), delta("wörld 🚀"), delta("", finish="stop")]
USAGE = event(
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
)
WIRES = {
    "json": plain(completion("Hello wörld 🚀")),
    "json-chunked": head("200 OK", {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    + b"".join(chunk(completion("Hello wörld 🚀")[n : n + 9]) for n in range(0, len(completion("Hello wörld 🚀")), 9))
    + LAST,
    "json-gzip": plain(gzip.compress(completion("Hello wörld 🚀")), Content_Encoding="gzip"),
    "stream": stream(*FOLDED, USAGE, DONE),
    "stream-bytewise": SSE_HEAD + b"".join(chunk(bytes([b])) for b in b"".join([*FOLDED, USAGE, DONE])) + LAST,
    "stream-crlf": stream(*(e.replace(b"\n", b"\r\n") for e in [*FOLDED, USAGE, DONE])),
    "stream-gzip": head(
        "200 OK", {"Content-Type": "text/event-stream", "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
    )
    + chunk(gzip.compress(b"".join([*FOLDED, USAGE, DONE])))
    + LAST,
}


@pytest.mark.parametrize("name", WIRES)
def test_a_chat_is_logged(daemon: Daemon, upstream: Upstream, name: str) -> None:
    play = upstream.play(WIRES[name])
    assert daemon.chat(play.model, stream="stream" in name, key=KEY).status == 200
    lines = records(daemon, play.model, "request", "response")
    request, response = only(lines, "request"), only(lines, "response")
    for line in (request, response):
        check_common(line, play.model)
    assert request["messages"] == [{"role": "user", "content": "Hi"}]
    assert request["request_id"] == response["request_id"]
    assert response["content"] == "Hello wörld 🚀"
    assert response["finish_reason"] == "stop"
    assert response["usage"]["total_tokens"] in {5, 7}
    assert not response["tool_calls"]
    assert response["duration_ms"] >= 0
    assert response["ttft_ms"] is None or 0 <= response["ttft_ms"] <= response["duration_ms"]


def test_tool_calls_of_a_stream_are_assembled(daemon: Daemon, upstream: Upstream) -> None:
    def call(index: int, **parts: Any) -> bytes:
        calls = [{"index": index, **parts}]
        return event({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]})

    events = [
        call(0, id="call_a", type="function", function={"name": "lights", "arguments": ""}),
        call(0, function={"arguments": '{"room":'}),
        call(1, id="call_b", type="function", function={"name": "blinds", "arguments": "{}"}),
        call(0, function={"arguments": '"kitchen"}'}),
        delta("", finish="tool_calls"),
    ]
    play = upstream.play(stream(*events, DONE))
    daemon.chat(play.model, stream=True, key=KEY)
    response = only(records(daemon, play.model, "response"), "response")
    assert [call["function"] for call in response["tool_calls"]] == [
        {"name": "lights", "arguments": '{"room":"kitchen"}'},
        {"name": "blinds", "arguments": "{}"},
    ]
    assert response["finish_reason"] == "tool_calls"


def test_files_are_readable_by_the_owner_only(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("x")))
    daemon.chat(play.model, key=KEY)
    records(daemon, play.model, "response")
    for path in daemon.logs_dir.rglob("*.jsonl"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


NAMES = [
    "../../escape",
    "/etc/passwd",
    "..",
    ".hidden",
    "-rf",
    "a/b",
    "a\\b",
    "n\nl",
    "x" * 256,
    "CON",
    "ü🚀",
    "\u2028",
    "a\0b",
    "%2e%2e",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_directory(daemon: Daemon, upstream: Upstream, name: str) -> None:
    before = {path for path in daemon.root.rglob("*") if path.parent != daemon.logs_dir}
    answer = daemon.chat(name, key=KEY)
    assert answer.status == 200, answer.body  # the scripted upstream answers for every model
    lines = records(daemon, name, "request", "response")
    assert len(lines) >= 2
    after = {path for path in daemon.root.rglob("*") if path.parent != daemon.logs_dir}
    assert {path for path in after - before if path.suffix == ".jsonl"} == set()
    for path in daemon.logs_dir.iterdir():
        assert path.name[0] not in ".-"
        assert len(path.name.encode()) <= 255


def test_every_record_is_one_line_of_json(daemon: Daemon, upstream: Upstream) -> None:
    evil = "line\nbreak \x1b[2J \u2028 \u2029 \x00"
    body = json.dumps(
        {
            "model": (play := upstream.play(plain(completion(evil)))).model,
            "messages": [{"role": "user", "content": evil}],
        }
    )
    daemon.post("/v1/chat/completions", body.encode(), key=KEY)
    lines = records(daemon, play.model, "request", "response")
    assert only(lines, "request")["messages"][0]["content"] == evil
    assert only(lines, "response")["content"] == evil
    for path in daemon.logs_dir.rglob("*.jsonl"):
        # Records of earlier tests may still be pending.
        text = eventually(
            lambda path=path: (read := path.read_bytes()).endswith(b"\n") and read, "the last line is complete"
        )
        assert b"\x1b" not in text
        assert all(json.loads(line)["type"] for line in text.splitlines())


@pytest.mark.parametrize("phase", ["before", "mid"])
def test_an_aborted_answer_is_logged_as_far_as_it_was_sent(daemon: Daemon, upstream: Upstream, phase: str) -> None:
    play = upstream.play(SSE_HEAD, chunk(TWO), HOLD) if phase == "mid" else upstream.play(HOLD)
    wire = daemon.wire().chat(play.model, stream=True, key=KEY)
    play.wait()
    if phase == "mid":
        wire.read_head()
        wire.read_until(b"two")
    wire.close()

    def ended() -> list[dict[str, Any]]:
        lines = [line for line in daemon.log_lines() if line["model"] == play.model]
        return [line for line in lines if line["type"] in {"response", "error"}]

    lines = eventually(ended, "the disconnect is in the log")
    if phase == "mid":
        assert any(line.get("content") == "one two " for line in lines)
    assert any("client_closed" in json.dumps(line) for line in lines)


def test_a_broken_answer_is_logged_as_such(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD, chunk(TWO), FIN)
    daemon.chat(play.model, stream=True, key=KEY)
    lines = records(daemon, play.model, "request", "error")
    check_common(only(lines, "error"), play.model)
    assert "upstream_truncated" in json.dumps(lines)


def test_an_upstream_error_is_logged(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b'{"error":{"message":"too long"}}', "400 Bad Request"))
    daemon.chat(play.model, key=KEY)
    assert only(records(daemon, play.model, "request", "error"), "error")["request_id"]


def test_invalid_bodies_do_not_stop_the_log(daemon: Daemon, upstream: Upstream) -> None:
    """Invalid JSON, invalid UTF-8, a false gzip label: the recorder survives, and the next answer is logged."""
    wires = [
        plain(b'{"a": nul'),
        plain(b"\xff\xfe", Content_Encoding="gzip"),
        stream(b"data: {no\n\n", b"data: \xff\xc3\n\n"),
    ]
    wires += [
        stream(event({"choices": "surprise"}), event([1]), event({"choices": [None]})),
        plain(b"[]"),
        plain(b"null"),
    ]
    for wire in wires:
        play = upstream.play(wire)
        assert daemon.chat(play.model, stream=True, key=KEY).status == 200
        records(daemon, play.model, "request")
    last = upstream.play(plain(completion("still here")))
    daemon.chat(last.model, key=KEY)
    assert only(records(daemon, last.model, "response"), "response")["content"] == "still here"


def test_no_key_is_ever_written(daemon: Daemon, upstream: Upstream) -> None:
    """This includes messages, answers, errors and names, and both the client's keys and ours."""
    leaky = f"my key is {KEY} and yours {CANARY}"
    for wire in (
        plain(completion(leaky)),
        stream(delta(leaky[:30]), delta(leaky[30:]), DONE),
        plain(leaky.encode(), "200 OK", "text/plain"),
    ):
        play = upstream.play(wire)
        body = json.dumps({"model": play.model, "messages": [{"role": "user", "content": leaky}], "user": KEY}).encode()
        with daemon.wire() as client:
            client.watch_for()  # an answer passes unchanged, even with a key that the model itself was given
            client.request("POST", "/v1/chat/completions", body=body, key=KEY).answer()
        records(daemon, play.model, "request", "response")
    daemon.chat(f"model-{KEY}", key=KEY)
    daemon.chat("no-access", key=KEY + "x")
    last = upstream.play(plain(completion("end")))
    daemon.chat(last.model, key=KEY)
    records(daemon, last.model, "response")
    for path in [*daemon.logs_dir.rglob("*"), daemon.root / "stderr"]:
        assert KEY not in path.name
        if path.is_file():
            data = path.read_bytes()
            assert KEY.encode() not in data, path
            assert CANARY.encode() not in data, path


def test_a_rotated_file_is_reopened(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("one")))
    daemon.chat(play.model, key=KEY)
    records(daemon, play.model, "response")
    for path in daemon.logs_dir.glob("*.jsonl"):
        path.rename(path.with_suffix(".jsonl.1"))
    daemon.chat(play.model, key=KEY)
    assert only(records(daemon, play.model, "response"), "response")["content"] == "one"


def test_other_requests_are_not_logged(daemon: Daemon, upstream: Upstream) -> None:
    """Streams are not delayed by logging: the client has each event before the next one is sent."""
    gates = [upstream.gate() for _ in range(5)]
    steps: list[plays.Step] = [SSE_HEAD]
    for number, gate in enumerate(gates):
        steps += [chunk(delta(f"word{number}")), gate]
    play = upstream.play(*steps, LAST)
    with daemon.wire() as wire:
        wire.chat(play.model, stream=True, key=KEY).read_head()
        for number, gate in enumerate(gates):
            wire.read_until(f"word{number}".encode())
            gate.open()
        assert wire.read_rest().complete
    assert only(records(daemon, play.model, "response"), "response")["content"] == "word0word1word2word3word4"


def test_lines_are_in_the_order_of_the_conversation(daemon: Daemon, upstream: Upstream) -> None:
    # Whole answers and streams are logged in different ways.
    order = [False, True, False, False, True, True, False]
    script = upstream.rounds(
        *(stream(delta("x"), DONE) if streamed else plain(completion(str(at))) for at, streamed in enumerate(order))
    )
    for streamed in order:
        body = {"model": script.model, "stream": streamed, "user": "u", "messages": [{"role": "user", "content": "hi"}]}
        assert daemon.post("/v1/chat/completions", json.dumps(body).encode(), key=KEY).status == 200

    def written() -> list[dict[str, Any]]:
        lines = [line for line in daemon.log_lines() if line["model"] == script.model]
        return lines if len(lines) == 2 * len(order) else []

    lines = eventually(written, "every line is written")
    answers = [line["content"] for line in lines if line["type"] == "response"]
    assert answers == ["x" if streamed else str(at) for at, streamed in enumerate(order)]
