"""Issue 7: wrong keys, overload, mid-stream errors of each vendor's shape; failover between kinds; model lists."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agent.grammar import check
from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.answers import check_error, check_error_object
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import FIN
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Answer
from tests.kinds.conftest import MINE, TOOLS, kinds_conf, model_files
from tests.kinds.vendors import SIZES, TEXT, VENDORS

both_modes = pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
every_vendor = pytest.mark.parametrize("kind", list(VENDORS))
every_model = pytest.mark.parametrize("model", ["plain", "augmented"])


@pytest.fixture(autouse=True)
def a_good_word_after_each_test(kinds: Daemon, upstream: Upstream) -> Iterator[None]:
    """Five consecutive failures open a model's breaker; a good answer in between resets the count."""
    yield
    for kind, vendor in VENDORS.items():
        for name in (f"{kind}:m", f"augmented/{kind}"):
            play = upstream.play(vendor.says("ok", stream=False))
            assert kinds.chat(name, headers=[("X-Play", play.model)]).status == 200


def ask(kinds: Daemon, kind: str, model: str, steps: tuple[Any, ...], upstream: Upstream, *, stream: bool) -> Answer:
    play = upstream.play(*steps)
    name = f"{kind}:m" if model == "plain" else f"augmented/{kind}"
    return kinds.chat(name, stream=stream, headers=[("X-Play", play.model)])


@every_vendor
@every_model
@both_modes
@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_wrong_key_is_our_fault(
    kinds: Daemon, upstream: Upstream, kind: str, model: str, stream: bool, status: str
) -> None:
    refusal = VENDORS[kind].refuses(status, f"invalid key {CANARY}")
    error = check_error(ask(kinds, kind, model, (refusal,), upstream, stream=stream), 502, "upstream_auth")
    assert kind in error["message"]


@every_vendor
@every_model
@both_modes
@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "503 Busy", "529 Overloaded"])
def test_errors_have_one_format(
    kinds: Daemon, upstream: Upstream, kind: str, model: str, stream: bool, status: str
) -> None:
    if kind == "google" and status.startswith("529"):
        status = "500 Internal"
    refusal = VENDORS[kind].refuses(status, "please wait a little")
    answer = ask(kinds, kind, model, (refusal,), upstream, stream=stream)
    assert answer.status == int(status[:3])
    assert answer.complete
    assert answer.json()["error"]["message"] == "please wait a little"
    assert answer.header("x-request-id")


@every_vendor
def test_an_error_in_mid_stream_is_passed_on(kinds: Daemon, upstream: Upstream, kind: str) -> None:
    """In the client's own format; the plain openai connection passes the bytes unchanged."""
    steps = (VENDORS[kind].breaks("half"),)
    answer = ask(kinds, kind, "plain", steps, upstream, stream=True)
    assert b"half" in answer.body
    last = [line for line in answer.body.decode().split("\n\n") if line.startswith("data: {")][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["message"] == "Overloaded"
    if kind != "openai":
        assert b"[DONE]" not in answer.body
    seen = check(ask(kinds, kind, "augmented", steps, upstream, stream=True).body, model=f"augmented/{kind}")
    assert seen.error is not None
    assert seen.content in ("half", "")


@every_vendor
def test_a_break_in_mid_stream_never_looks_like_an_end(kinds: Daemon, upstream: Upstream, kind: str) -> None:
    steps = (VENDORS[kind].begins("half"), FIN)
    answer = ask(kinds, kind, "plain", steps, upstream, stream=True)
    assert b"[DONE]" not in answer.body
    assert b'"error"' in answer.body or not answer.complete
    seen = check(ask(kinds, kind, "augmented", steps, upstream, stream=True).body, model=f"augmented/{kind}")
    assert seen.error is not None


def test_a_function_that_fails(kinds: Daemon) -> None:
    def say(text: str, *, stream: bool) -> Answer:
        return kinds.chat("local:m", stream=stream, messages=[{"role": "user", "content": text}])

    for stream in (False, True):
        answer = say("fail", stream=stream)
        assert (answer.status, answer.complete) == (500, True)
        check_error_object(answer.json()["error"])
        assert answer.header("x-proxy-error") == answer.json()["error"]["code"] == "local_error"
        assert answer.reason == "Internal Server Error"
    late = say("fail later", stream=True)
    assert b"half" in late.body
    assert b'"error"' in late.body
    assert b"[DONE]" not in late.body
    assert say("still here", stream=False).json()["choices"][0]["message"]["content"] == "still here "


def test_every_kind_takes_over_from_every_other(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    """As targets of one route: if one fails before the first byte, the next kind answers, augmented or not."""
    kinds = [*VENDORS, "local", "echo"]
    routing: dict[str, Any] = {
        f"{broken}-{kind}": [f"broken-{broken}.m", f"{kind}.m"] for broken in VENDORS for kind in kinds
    } | {"round": {"targets": [f"{kind}.m" for kind in kinds], "policy": "round_robin"}}
    conf = kinds_conf(upstream, routing=routing)
    plays = {kind: upstream.play(vendor.says(TEXT, stream=False)) for kind, vendor in VENDORS.items()}
    for kind in VENDORS:
        conf["connections"][kind]["headers"] = {"X-Play": plays[kind].model}
        closed = upstream.play(FIN)
        broken = connection(upstream.url, api_type=kind, headers={"X-Play": closed.model})
        conf["connections"][f"broken-{kind}"] = broken
    files = {"mine.py": MINE, "tools/double.py": TOOLS, **model_files()}
    files["models/over.yaml"] = "name: augmented/over\nupstream_model: openai-anthropic\ntools: [double]\n"
    daemon = make_daemon(conf, files=files)
    expected = dict.fromkeys(VENDORS, TEXT) | {"local": "Hi ", "echo": "Hi"}
    for broken in VENDORS:
        for kind in kinds:
            answer = daemon.chat(f"{broken}-{kind}")
            assert answer.status == 200, (broken, kind, answer.body)
            assert answer.json()["choices"][0]["message"]["content"] == expected[kind]
            assert answer.header("x-proxy-attempts") in ("2", None), (
                "two attempts, or one (no header) once the breaker skips the target"
            )
    assert daemon.chat("augmented/over").json()["choices"][0]["message"]["content"] == TEXT
    told = [daemon.chat("round").json()["choices"][0]["message"]["content"] for _ in range(2 * len(kinds))]
    assert sorted(told) == sorted(2 * list(expected.values()))


def test_every_kind_lists_its_models(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    routing = {f"{kind}*": f"{kind}.*" for kind in [*VENDORS, "echo"]}
    conf = kinds_conf(upstream, model_listing_prefix=True, routing=routing, default_connection="local")
    for kind, vendor in VENDORS.items():
        conf["connections"][kind]["headers"] = {"X-Play": upstream.play(vendor.models()).model}
    daemon = make_daemon(conf, files={"mine.py": MINE, "tools/double.py": TOOLS})

    def listed() -> set[str]:
        return {model["id"] for model in daemon.get("/v1/models").json()["data"]}

    wanted = {f"{kind}:{kind}-{size}" for kind in VENDORS for size in SIZES}
    eventually(lambda: wanted <= listed(), "every connection's models are listed")
    assert any(name.startswith("echo:") for name in listed())
    assert any(name.startswith("local:") for name in listed())
    states = {c["name"]: c["state"] for c in daemon.get("/admin/status").json()["connections"]}
    assert set(states) == {*VENDORS, "local", "echo"}
