"""`x-should-retry: false` is sent with errors that a retry cannot change, in every API, and with no others."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.front.configurations import connection
from tests.harness.daemon import Daemon, held_port
from tests.harness.plays import FIN, HOLD, Step, head, plain
from tests.harness.upstream import Upstream

MANY = 150
NUMBERS = itertools.count()
"""Each request has its own connection, since one that has failed may be paused."""

KEY = "sk-retry-key-of-a-client"

DOORS: dict[str, Any] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/messages": {"max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"input": "hi"},
    "/api/chat": {"stream": False, "messages": [{"role": "user", "content": "hi"}]},
    "/v1beta/models/{}:generateContent": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "/v1/embeddings": {"input": "hi"},
}
NATIVE = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
"""Endpoints that an `openai` connection passes through, with their errors."""


def upstream_error(status: str) -> bytes:
    body = b'{"error":{"message":"no luck","type":"x","code":"x"}}'
    return head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))}) + body


class Case(NamedTuple):
    model: str
    status: int
    final: bool
    steps: tuple[Step, ...] = (plain(b"{}"),)
    key: str | None = KEY


CASES = {
    "no key": Case("main:m", 401, True, key=None),
    "an unknown key": Case("main:m", 401, True, key="sk-nobody-has-this-key"),
    "an unknown model": Case("other", 404, True),
    "our key is refused": Case("main:m", 502, True, (upstream_error("401 Unauthorized"),)),
    "our key lacks permission": Case("main:m", 502, True, (upstream_error("403 Forbidden"),)),
    "nobody listens": Case("gone:m", 502, True),
    "no answer": Case("slow:m", 504, True, (HOLD,)),
    "the provider hangs up": Case("main:m", 502, True, (FIN,)),
    "a redirect": Case("main:m", 502, True, (head("302 Found", {"Location": "/x", "Content-Length": "0"}),)),
}


@pytest.fixture(scope="module")
def configured_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with held_port() as port:
        gone = connection(f"http://127.0.0.1:{port}/v1")
        slow = connection(upstream.url, timeout={"connect": 30, "first_byte": 0.3, "idle": 0.3})
        conf = {
            "connections": {
                **{f"main{n}": connection(upstream.url) for n in range(MANY)},
                **{f"gone{n}": gone for n in range(MANY)},
                **{f"slow{n}": slow for n in range(MANY)},
            },
            "default_connection": "main0",
            "groups": {
                "family": {"api_keys": [KEY], "allowed_models": ["*m"]},
                "often": {"api_keys": ["sk-often-key-of-a-client"], "limits": {"requests_per_minute": 1}},
            },
        }
        with Daemon(tmp_path_factory.mktemp("retry"), conf).serving(leaks=False) as daemon:
            yield daemon


def ask(configured_daemon: Daemon, door: str, model: str, play: str, key: str | None) -> Any:
    model = model.replace(":", f"{next(NUMBERS)}:")
    body = {**DOORS[door], **({} if "{}" in door else {"model": model})}
    return configured_daemon.post(door.format(model), json.dumps(body).encode(), headers=[("X-Play", play)], key=key)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", CASES)
def test_the_header_is_sent_where_a_retry_is_useless(
    configured_daemon: Daemon, upstream: Upstream, door: str, name: str
) -> None:
    case = CASES[name]
    play = upstream.play(*case.steps)
    answer = ask(configured_daemon, door, case.model, play.model, case.key)
    assert answer.status == case.status
    assert answer.all("x-should-retry") == (["false"] if case.final else [])


@pytest.mark.parametrize("door", DOORS)
def test_a_body_that_is_too_large_is_final(configured_daemon: Daemon, door: str) -> None:
    with configured_daemon.wire() as wire:
        wire.send(
            f"POST {door.format('m')} HTTP/1.1\r\nHost: {wire.host}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {10**9}\r\n\r\n".encode()
        )
        answer = wire.answer()
    assert (answer.status, answer.all("x-should-retry")) == (413, ["false"])


@pytest.mark.parametrize("door", DOORS)
def test_invalid_json_is_final(configured_daemon: Daemon, door: str) -> None:
    answer = configured_daemon.post(door.format("m"), b'{"model":', key=KEY)
    assert (answer.status, answer.all("x-should-retry")) == (400, ["false"])


@pytest.mark.parametrize("door", DOORS)
def test_a_limit_of_ours_is_not_final(configured_daemon: Daemon, upstream: Upstream, door: str) -> None:
    play = upstream.play(plain(b"{}"))
    answers = [ask(configured_daemon, door, "main:m", play.model, "sk-often-key-of-a-client") for _ in range(2)]
    assert (answers[-1].status, answers[-1].all("x-should-retry")) == (429, [])


@pytest.mark.parametrize("door", NATIVE)
@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "429 Too Many", "500 Oh", "503 Busy"])
def test_a_providers_error_passes_unchanged(
    configured_daemon: Daemon, upstream: Upstream, door: str, status: str
) -> None:
    answer = ask(configured_daemon, door, "main:m", upstream.play(upstream_error(status)).model, KEY)
    assert (answer.status, answer.all("x-should-retry")) == (int(status[:3]), [])


@pytest.mark.parametrize("door", [door for door in DOORS if door not in NATIVE])
def test_a_translated_failure_is_final_after_our_own_attempts(
    configured_daemon: Daemon, upstream: Upstream, door: str
) -> None:
    for status, final in (("500 Oh", ["false"]), ("503 Busy", ["false"]), ("429 Too Many", [])):
        answer = ask(configured_daemon, door, "main:m", upstream.play(upstream_error(status)).model, KEY)
        assert (answer.status, answer.all("x-should-retry")) == (int(status[:3]), final)
