"""Groups through the running daemon: limits, validators, and what an admin sees; with and without the fast path."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, completion, delta, plain, stream
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Answer


def conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    return {"connections": {"main": connection(upstream.url)}, **more}


def group(*keys: str, **limits: int) -> dict[str, Any]:
    return {"api_keys": list(keys), "limits": limits}


def ask(daemon: Daemon, key: str, model: str = "m-small") -> Answer:
    return daemon.post(
        "/v1/chat/completions",
        json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode(),
        headers=[("Authorization", f"Bearer {key}")],
    )


def control(daemon: Daemon, path: str) -> tuple[int, Any]:
    """One GET over the control socket."""
    link = http.client.HTTPConnection("localhost", timeout=10)
    link.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.sock.connect(str(daemon.state_dir / "control.sock"))
    link.request("GET", path)
    response = link.getresponse()
    body = response.read()
    link.close()
    return response.status, json.loads(body) if body.startswith(b"{") else body.decode()


def test_requests_a_minute(upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]) -> None:
    groups = {"few": group("sk-few-1", "sk-few-2", requests_per_minute=2), "free": group("sk-free")}
    daemon = make_daemon(conf(upstream, groups=groups), flags=flags)
    assert [ask(daemon, "sk-few-1").status for _ in range(3)] == [200, 200, 429]
    answer = ask(daemon, "sk-few-1")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(answer.header("retry-after") or 0) <= 60
    assert answer.header("x-ratelimit-limit-requests") == "2"
    assert answer.header("x-ratelimit-remaining-requests") == "0"
    assert answer.header("x-proxy-error") == "rate_limit_exceeded"
    assert ask(daemon, "sk-few-2").status == 200, "each key has its own limits"
    assert {ask(daemon, "sk-free").status for _ in range(5)} == {200}


def test_tokens_are_counted_at_the_end_of_an_answer_and_survive_a_restart(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    whole = upstream.play(plain(completion("fine")))  # its usage reports 5 tokens
    streamed = upstream.play(
        stream(delta("words " * 40), delta("", finish="stop"), DONE)
    )  # reports no usage, so its tokens are estimated
    groups = {
        "counted": group("sk-counted", tokens_per_day=9),
        "guessed": group("sk-guessed", tokens_per_minute=40),
    }
    daemon = make_daemon(conf(upstream, groups=groups), flags=flags)

    def rows() -> dict[str, Any]:
        status, report = control(daemon, "/admin/usage?by=group")
        assert status == 200
        return {row["group"]: row for row in report["rows"]}

    # The next request waits for the tokens of the previous answer, but not forever: a busy machine may take longer.
    assert [ask(daemon, "sk-counted", whole.model).status for _ in range(2)] == [200, 200]
    eventually(lambda: rows().get("counted", {}).get("output_tokens") == 4, "the tokens are counted")
    assert ask(daemon, "sk-counted", whole.model).status == 429
    assert ask(daemon, "sk-guessed", streamed.model).status == 200
    eventually(lambda: rows().get("guessed", {}).get("estimated_requests") == 1, "the tokens are estimated")
    assert ask(daemon, "sk-guessed", streamed.model).status == 429
    assert (rows()["counted"]["requests"], rows()["guessed"]["requests"]) == (2, 1)
    daemon.stop()
    daemon.start()
    answer = ask(daemon, "sk-counted", whole.model)
    assert answer.status == 429
    assert "tokens a day" in answer.json()["error"]["message"]


def test_concurrent_requests(upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]) -> None:
    gate = upstream.gate()
    slow = upstream.play(gate, plain(completion("fine")))
    daemon = make_daemon(conf(upstream, groups={"one": group("sk-one", concurrent_requests=1)}), flags=flags)
    headers = [("Authorization", "Bearer sk-one")]
    body = json.dumps({"model": slow.model, "messages": []}).encode()
    with daemon.wire() as first:
        first.request("POST", "/v1/chat/completions", body=body, headers=headers)
        slow.begun()
        refused = ask(daemon, "sk-one")
        assert (refused.status, refused.header("x-proxy-error")) == (429, "too_many_requests")
        gate.open()
        assert first.answer().status == 200
    assert ask(daemon, "sk-one").status == 200
    with daemon.wire() as gone:  # a client that disconnects midway releases its place
        gone.request("POST", "/v1/chat/completions", body=json.dumps({"model": upstream.play(upstream.gate()).model,
                     "messages": []}).encode(), headers=headers)  # fmt: skip
        eventually(lambda: ask(daemon, "sk-one").status == 429, "the slow request is being served")
    eventually(lambda: ask(daemon, "sk-one").status == 200, "the place of the disconnected client is free again")


VALIDATOR = """
import time
CALLS = []
def check(key):
    if key == "sk-bang": raise RuntimeError("no " + key)
    return {"sk-ann": "family", "sk-lost": "strangers"}.get(key)
async def acheck(key):
    return check(key)
"""


@pytest.mark.parametrize("name", ["check", "acheck"])
def test_a_validator_decides(upstream: Upstream, make_daemon: DaemonFactory, flags: list[str], name: str) -> None:
    groups = {"family": {"allowed_models": "m-*"}, "listed": {"api_keys": ["sk-listed"]}}
    daemon = make_daemon(
        conf(upstream, groups=groups, check_api_key=f"mine.{name}"), files={"mine.py": VALIDATOR}, flags=flags
    )
    assert [ask(daemon, "sk-ann").status for _ in range(2)] == [200, 200]
    assert ask(daemon, "sk-ann", "vendor/x").status == 404
    assert ask(daemon, "sk-lost").status == 401
    assert ask(daemon, "sk-listed").status == 401, "a validator replaces the lists"
    assert ask(daemon, "sk-nobody").status == 401
    failed = ask(daemon, "sk-bang")
    assert (failed.status, failed.header("x-proxy-error")) == (500, "validator_error")
    assert "sk-bang" not in failed.body.decode()
    assert daemon.get("/v1/models").status == 401


def test_a_validator_is_reloaded_with_conf(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(
        conf(upstream, groups={"family": {}}, check_api_key="mine.check", admin_api_keys=["sk-admin"]),
        files={"mine.py": "def check(key): return 'family' if key == 'sk-old' else None\n"},
    )
    assert [ask(daemon, key).status for key in ("sk-old", "sk-new")] == [200, 401]
    daemon.write("mine.py", "def check(key): return 'family' if key == 'sk-new' else None\n")
    eventually(lambda: ask(daemon, "sk-new").status == 200, "the edit is in effect")
    assert ask(daemon, "sk-old").status == 401
    daemon.write("mine.py", "def check(key) return 'family'\n")
    eventually(lambda: bool(control(daemon, "/admin/status")[1]["config"]["problems"]), "the problem is reported")
    assert [ask(daemon, key).status for key in ("sk-old", "sk-new")] == [401, 200], (
        "the last working validator stays in use"
    )


def test_metrics_and_usage_are_for_admins(upstream: Upstream, make_daemon: DaemonFactory, tmp_path: Path) -> None:
    daemon = make_daemon(conf(upstream, admin_api_keys=["sk-admin"], prices={"m-*": {"input": 1e6, "output": 2e6}}))
    assert daemon.chat("m-small").status == 200
    for path in ("/metrics", "/admin/usage"):
        assert daemon.get(path).status == 401
    eventually(lambda: control(daemon, "/admin/usage")[1]["total"]["requests"] == 1, "the request is counted")
    assert control(daemon, "/admin/usage")[1]["total"]["cost"] == 3 + 2 * 2
    status, text = control(daemon, "/metrics")
    assert status == 200
    assert "connection_keys_resting" in text
    assert control(daemon, "/admin/usage?by=moon")[0] == 400


def test_loggers_of_the_owner(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    loggers = [
        {"class": "openai_proxy.loggers.JsonLogger", "file_name": "rows.jsonl",
         "entry": {"who": "group", "model": "request.model", "answer": "response.content"}},
        {"class": "nowhere_at_all.Logger"},
    ]  # fmt: skip
    daemon = make_daemon(conf(upstream, loggers=loggers, groups={"family": group("sk-ann")}))
    assert ask(daemon, "sk-ann").status == 200
    rows = daemon.logs_dir / "rows.jsonl"
    eventually(lambda: rows.exists() and bool(rows.read_text()), "the row is written")
    assert json.loads(rows.read_text()) == {"who": "family", "model": "m-small", "answer": "Hello world"}
    (problem,) = control(daemon, "/admin/status")[1]["config"]["problems"]
    assert "nowhere_at_all" in problem["message"]
    assert problem["line"] > 1
