"""Augmented turns in the chat log, in live events and on the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.augmented.talk import asks, chat, conversation, request
from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY, REPOSITORY, Daemon
from tests.harness.plays import FIN
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually


def lines_of(augmented_daemon: Daemon, question: str, *kinds: str) -> list[dict[str, Any]]:
    """The chat log's lines of the request with `question`, once there is one of each of `kinds`."""

    def found() -> list[dict[str, Any]]:
        lines = list(augmented_daemon.log_lines())
        ids = {
            x["request_id"]
            for x in lines
            if x["type"] == "request" and x["messages"] and x["messages"][-1]["content"] == question
        }
        ours = [line for line in lines if line["request_id"] in ids]
        return ours if set(kinds) <= {line["type"] for line in ours} else []

    return eventually(found, f"the chat log has a line of each kind: {kinds}")


def test_the_chat_log_has_the_calls_with_their_results(augmented_daemon: Daemon, upstream: Upstream) -> None:
    for stream in (True, False):
        question = f"Log this, {stream}"
        calls = [("c1", "double", '{"number":21}'), ("c2", "boom", "{}")]
        play = conversation(upstream, calls, "It is 42.", stream=stream)
        chat(augmented_daemon, "tools", play, stream=stream, messages=[{"role": "user", "content": question}])
        lines = lines_of(augmented_daemon, question, "request", "tool_call", "response")
        assert {line["model"] for line in lines} == {"augmented/tools"}
        assert len({line["conversation_id"] for line in lines}) == 1
        double, boom = sorted((x for x in lines if x["type"] == "tool_call"), key=lambda x: x["tool"], reverse=True)
        assert (double["tool"], double["arguments"], double["result"], double["status"]) == (
            "double", {"number": 21}, "42", "ok",
        )  # fmt: skip
        assert (boom["tool"], boom["status"]) == ("boom", "error")
        assert CANARY not in json.dumps(boom)
        assert double["duration_ms"] >= 0
        (response,) = [x for x in lines if x["type"] == "response"]
        assert (response["content"], response["finish_reason"]) == ("It is 42.", "stop")
        assert not response["tool_calls"], "calls of our tools have their own records"
        assert response["usage"]["total_tokens"] == 30
        assert 0 <= (response["ttft_ms"] or 0) <= response["duration_ms"]


def test_a_broken_turn_is_logged_as_an_error(augmented_daemon: Daemon, upstream: Upstream) -> None:
    question = "Break this"
    play = upstream.rounds(
        asks(("c1", "double", '{"number":1}'), stream=True), *[FIN] * 6
    )  # idle connections may have closed: retried
    with augmented_daemon.wire() as wire:
        messages = [{"role": "user", "content": question}]
        request(wire, "augmented/tools", play, stream=True, messages=messages).answer()
    lines = lines_of(augmented_daemon, question, "request", "tool_call", "error")
    (error,) = [x for x in lines if x["type"] == "error"]
    assert "upstream_disconnected" in json.dumps(error)


def test_live_events_report_tool_calls(augmented_daemon: Daemon, upstream: Upstream) -> None:
    with augmented_daemon.control_wire() as events:
        events.request("GET", "/admin/events").read_head(method="GET")
        play = conversation(upstream, [("c1", "double", '{"number":21}')], "42.", stream=True)
        chat(augmented_daemon, "tools", play, stream=True)
        checked = events.read_until(b'"double"')
    assert b"tool_call" in checked


def run(augmented_daemon: Daemon, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(augmented_daemon.root)}
    command = [sys.executable, "-m", "openai_proxy", *arguments]
    return subprocess.run(command, env=environ, input=stdin, capture_output=True, text=True, timeout=30, check=False)


def test_chat_from_the_shell(augmented_daemon: Daemon) -> None:
    asked = 'call double {"number": 21}'
    done = run(augmented_daemon, "chat", "augmented/on-echo", asked, "--port", str(augmented_daemon.port))
    assert (done.returncode, done.stdout) == (0, "double: 42\n")
    assert done.stderr == "double …\ndouble done\n"


def test_a_conversation_from_the_shell(augmented_daemon: Daemon) -> None:
    done = run(augmented_daemon, "chat", "augmented/on-echo", "--port", str(augmented_daemon.port), stdin="one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "one\ntwo\n")


def test_explain_describes_what_a_request_would_get(augmented_daemon: Daemon) -> None:
    done = run(
        augmented_daemon,
        "explain",
        "augmented/injected",
        "--config-dir",
        str(augmented_daemon.conf_dir),
        "--env-file",
        "/nowhere",
    )
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("m-injected", "'main'", "| Prompt.", "python-expert", "injected.yaml:1"):
        assert part in done.stdout
    assert "cook" not in done.stdout
    tools = run(
        augmented_daemon,
        "explain",
        "augmented/tools",
        "--config-dir",
        str(augmented_daemon.conf_dir),
        "--env-file",
        "/nowhere",
    )
    assert "calculator, upper, double, area" in tools.stdout
    assert CANARY not in done.stdout + tools.stdout


def test_chat_with_an_unknown_model_is_one_line(augmented_daemon: Daemon, upstream: Upstream) -> None:
    done = run(augmented_daemon, "chat", "augmented/boom:echo", "Hi", "--port", "1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_the_readmes_example_answers_with_a_tool_result(make_daemon: DaemonFactory, tmp_path: Path) -> None:
    """A fresh `conf/` as `init` writes it, no key, no network: the commands of the README's first minute."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)}
    made = tmp_path / "conf"
    init = [sys.executable, "-m", "openai_proxy", "init", str(made)]
    subprocess.run(init, env=environ, check=True, capture_output=True, timeout=30)
    daemon = make_daemon(start=False)
    shutil.copytree(made, daemon.conf_dir, dirs_exist_ok=True)
    daemon.start()
    bodies = [
        line.split("-d '", 1)[1].rsplit("'", 1)[0].encode()
        for line in (REPOSITORY / "README.md").read_text().splitlines()
        if "-d '" in line and "model" in line
    ]
    answers = [daemon.post("/v1/chat/completions", body, content_type="application/json").json() for body in bodies[:2]]
    assert answers[0]["choices"][0]["message"]["content"] == "Hello, house"
    assert answers[1]["model"] == "augmented/example"
    assert "42" in answers[1]["choices"][0]["message"]["content"]
