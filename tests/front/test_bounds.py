"""Names and heads are bounded on arrival, and refused requests leave nothing behind."""

import json
from typing import Any

import pytest

from openai_proxy.bounds import MAX_HEAD
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Answer

LONG = "ü" * 400_000


def ask(daemon: Daemon, upstream: Upstream, path: str = "/v1/chat/completions", **more: Any) -> tuple[Answer, int]:
    """One chat; the answer, and how many requests reached the upstream for it."""
    play = upstream.play(plain(b"{}"))
    answer = daemon.chat(more.pop("model", play.model), path=path, **more)
    return answer, len(play.requests)


def tools(name: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": name}}]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize("name", ["x" * 257, "ü" * 129, LONG])
def test_a_long_model_name(daemon: Daemon, upstream: Upstream, path: str, name: str) -> None:
    answer, asked = ask(daemon, upstream, path, model=name)
    assert answer.status == 400
    assert answer.header("x-proxy-error") == "model_name_too_long"
    assert len(answer.body) < 500
    assert asked == 0
    assert name[:200] not in daemon.get("/metrics").body.decode()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"])
@pytest.mark.parametrize("words", ["hi", "!/hello", "!/set(model=\ud83d)"])
def test_half_a_character_is_not_a_model_name(daemon: Daemon, path: str, words: str) -> None:
    """Found by `make fuzz`: the answer to a command could not be written."""
    for model in ("\ud83d", "m\udc00"):
        body = {"model": model, "messages": [{"role": "user", "content": words}], "input": words, "max_tokens": 9}
        answer = daemon.post(path, json.dumps(body).encode())
        assert (answer.status, answer.header("x-proxy-error")) == (400, "invalid_model")
    body["model"] = "m"
    assert daemon.post(path, json.dumps(body).encode()).status != 500


def test_a_long_model_name_in_a_form(daemon: Daemon) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 300 + b"\r\n--b--\r\n"
    answer = daemon.post("/v1/audio/transcriptions", body, content_type="multipart/form-data; boundary=b")
    check_error(answer, 400, "model_name_too_long")


@pytest.mark.parametrize("more", [{"metadata": {"session_id": "x" * 257}}, {"headers": [("X-Session-ID", "x" * 257)]}])
def test_a_long_session_id(daemon: Daemon, upstream: Upstream, more: dict[str, Any]) -> None:
    answer, asked = ask(daemon, upstream, **more)
    check_error(answer, 400, "session_id_too_long")
    assert asked == 0


@pytest.mark.parametrize("more", [{"user": "x" * 513}, {"user": LONG}, {"metadata": {"user_id": "ü" * 257}}])
def test_a_long_user(daemon: Daemon, upstream: Upstream, more: dict[str, Any]) -> None:
    answer, asked = ask(daemon, upstream, **more)
    check_error(answer, 400, "user_too_long")
    assert asked == 0


@pytest.mark.parametrize("name", ["x" * 129, LONG])
@pytest.mark.parametrize("flat", [False, True])
def test_a_long_tool_name(daemon: Daemon, upstream: Upstream, name: str, flat: bool) -> None:
    answer, asked = ask(daemon, upstream, tools=[{"name": name}] if flat else tools(name))
    check_error(answer, 400, "tool_name_too_long")
    assert asked == 0


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {"session_id": "x" * 256}},
        {"headers": [("X-Session-ID", "x" * 256)]},
        {"user": "x" * 512},
        {"user": 7},
        {"metadata": {"session_id": 7, "user_id": ["x" * 600]}},
        {"tools": tools("x" * 128)},
        {"tools": [7, {"function": 7, "name": "x"}, {"type": "function"}]},
    ],
)
def test_names_at_the_limit_are_served(daemon: Daemon, upstream: Upstream, more: dict[str, Any]) -> None:
    answer, asked = ask(daemon, upstream, **more)
    assert (answer.status, asked) == (200, 1)


def test_the_longest_model_name(daemon: Daemon, upstream: Upstream) -> None:
    upstream.unclaimed.clear()
    assert ask(daemon, upstream, model="x" * 256)[0].status in {200, 404}
    assert json.loads(upstream.unclaimed[-1].body)["model"] == "x" * 256


# Heads


@pytest.mark.parametrize("count", [5, 100])
def test_a_head_that_is_too_large_in_total(daemon: Daemon, upstream: Upstream, count: int) -> None:
    filler = [(f"X-Filler-{n}", "x" * (MAX_HEAD // count)) for n in range(count)]
    answer, asked = ask(daemon, upstream, headers=filler)
    check_error(answer, 431, "headers_too_large")
    assert answer.header("connection") == "close"
    assert asked == 0


def test_a_large_head_that_is_not_too_large(daemon: Daemon, upstream: Upstream) -> None:
    filler = [(f"X-Filler-{n}", "x" * 2000) for n in range(15)]
    assert ask(daemon, upstream, headers=filler)[0].status == 200


@pytest.mark.parametrize("piece", [b"X-A: " + b"x" * 1000 + b"\r\n", b"X: y\r\n"])
def test_a_head_without_an_end(daemon: Daemon, piece: bytes) -> None:
    """The client may have no key: no more than the limit is kept, whatever its lines look like."""
    with daemon.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        while sent < 4 * MAX_HEAD and wire.try_send(piece):
            sent += len(piece)
        answer = wire.answer()
        assert answer.status in {400, 431}  # 400: more fields than aiohttp accepts
        wire.wait_closed()


def test_a_second_head_without_an_end(daemon: Daemon, upstream: Upstream) -> None:
    """The limit holds after a served exchange, and after a body as large as many heads."""
    play = upstream.play(plain(b"{}"))
    with daemon.wire() as wire:
        assert wire.chat(play.model, messages=[{"role": "user", "content": "x" * 200_000}]).answer().status == 200
        wire.send(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(60):
            if not wire.try_send(b"X-A: " + b"x" * 1000 + b"\r\n"):
                break
        assert wire.answer(method="GET").status == 431
        wire.wait_closed()


def test_a_line_that_is_too_long(daemon: Daemon) -> None:
    with daemon.wire() as wire:
        wire.send(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        for _ in range(60):
            if not wire.try_send(b"x" * 1000):
                break
        assert wire.answer(method="GET").status in {400, 431}
        wire.wait_closed()


def test_half_a_character_in_a_user_name_does_not_block_usage(daemon: Daemon, upstream: Upstream) -> None:
    """Found by `make fuzz`: such a row could not be written, which blocked all others."""
    play = upstream.play(plain(completion("ok")))
    body = {"model": play.model, "user": "half-\ud83d", "messages": []}
    assert daemon.post("/v1/chat/completions", json.dumps(body).encode()).status == 200

    def counted() -> bool:
        return b"half-?" in daemon.control("GET", "/admin/usage?by=user").body

    eventually(counted, "the request is counted under a name that can be written")
    assert "chore" not in daemon.stderr
