"""A provider whose answer is too large, too deep or too busy: a clear error, and the daemon keeps serving."""

from collections.abc import Callable

import pytest

from tests.front.configurations import front_conf
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, SSE_HEAD, delta, event, head, plain, stream
from tests.harness.upstream import Upstream

END = (delta("", finish="stop"), DONE)


def deep(levels: int) -> bytes:
    return b'{"x":' * levels + b'"y"' + b"}" * levels


def calls(count: int) -> bytes:
    call = b'{"index":%d,"id":"c%d","function":{"name":"f","arguments":"{}"}}'
    listed = b",".join(call % (number, number) for number in range(count))
    return event(b'{"choices":[{"index":0,"delta":{"tool_calls":[' + listed + b"]}}]}")


def in_delta(member: bytes) -> bytes:
    return event(b'{"choices":[{"index":0,"delta":{' + member + b"}}]}")


ANSWERS = {
    "a deep delta": (stream(in_delta(b'"z":' + deep(900)), *END), "upstream_too_deep"),
    "deep reasoning": (stream(in_delta(b'"reasoning_details":[' + deep(900) + b"]"), *END), "upstream_too_deep"),
    "deep usage": (stream(event(b'{"choices":[],"usage":' + deep(900) + b"}"), *END), "upstream_too_deep"),
    "deep arguments": (
        stream(in_delta(b'"tool_calls":[{"index":0,"function":{"name":"f","arguments":' + deep(900) + b"}}]"), *END),
        "upstream_too_deep",
    ),
    "a deep whole answer": (
        plain(b'{"choices":[{"message":{"content":"hi","z":' + deep(900) + b'},"finish_reason":"stop"}]}'),
        "upstream_too_deep",
    ),
    "a choice far away": (
        stream(event(b'{"choices":[{"index":1000000000,"delta":{"content":"hi"}}]}'), *END),
        "upstream_too_many_choices",
    ),
    "choices without end": (
        stream(*(event(b'{"choices":[{"index":%d,"delta":{"content":"hi"}}]}' % n) for n in range(300)), *END),
        "upstream_too_many_choices",
    ),
    "choices in one event": (
        stream(event(b'{"choices":[' + b",".join([b'{"delta":{"content":"hi"}}'] * 300) + b"]}"), *END),
        "upstream_too_many_choices",
    ),
    "many whole choices": (
        plain(b'{"choices":[' + b",".join([b'{"message":{"content":"hi"},"finish_reason":"stop"}'] * 300) + b"]}"),
        "upstream_too_many_choices",
    ),
    "calls of a whole answer": (
        plain(
            b'{"choices":[{"message":{"tool_calls":['
            + b",".join(b'{"id":"c%d","function":{"name":"f","arguments":"{}"}}' % n for n in range(1500))
            + b']},"finish_reason":"tool_calls"}]}'
        ),
        "upstream_too_many_calls",
    ),
    "calls without end": (stream(calls(1500), *END), "upstream_too_many_calls"),
}


@pytest.fixture(scope="module")
def augmented_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    model = {"models/a.yaml": "name: augmented/a\nupstream_model: main.any\n"}
    daemon = Daemon(tmp_path_factory.mktemp("endless"), front_conf(upstream), files=model).start()
    try:
        yield daemon  # type: ignore[misc]  # a fixture
        daemon.stop()
    finally:
        daemon.kill()


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", ANSWERS)
def test_it_is_a_clear_error(augmented_daemon: Daemon, upstream: Upstream, name: str, streamed: bool) -> None:
    answer, code = ANSWERS[name]
    play = upstream.play(answer)
    got = augmented_daemon.chat("augmented/a", stream=streamed, headers=[("X-Play", play.model)])
    assert code.encode() in got.body
    assert b"[DONE]" not in got.body
    assert got.status == (200 if streamed else 502)
    assert "RecursionError" not in augmented_daemon.stderr
    good = upstream.play(stream(delta("fine"), *END))
    assert augmented_daemon.chat("augmented/a", headers=[("X-Play", good.model)]).status == 200


def test_an_endless_stream_is_cut_off_at_a_limit(augmented_daemon: Daemon, upstream: Upstream) -> None:
    piece = delta("x" * 1_000_000)
    play = upstream.play(SSE_HEAD, *[b"%x\r\n%b\r\n" % (len(piece), piece)] * 80)
    got = augmented_daemon.chat("augmented/a", headers=[("X-Play", play.model)])
    assert (got.status, got.json()["error"]["code"]) == (502, "upstream_too_large")


def test_a_content_type_of_spaces_costs_nothing(make_daemon: Callable[..., Daemon], upstream: Upstream) -> None:
    daemon = make_daemon(front_conf(upstream))
    kind = "text/event-stream;" + " " * 60_000 + "x"
    play = upstream.play(head("200 OK", {"Content-Type": kind, "Content-Length": "2"}) + b"{}")
    assert daemon.chat(play.model).status in {200, 502}
    assert daemon.get("/health").status == 200
