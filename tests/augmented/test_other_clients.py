"""Clients other than Python's `openai`: OpenAI's for Node, and LangChain. Skipped if they cannot be installed."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.augmented.talk import conversation
from tests.harness.daemon import Daemon
from tests.harness.plays import FIN, SSE_HEAD, chunk, delta
from tests.harness.scripts import Rounds
from tests.harness.upstream import Upstream
from tests.mcp.npm import installed
from tests.venvs import interpreter

CLIENTS = Path(__file__).parent / "clients"
OURS = ("call_ours_00000000000000000001", "double", '{"number":21}')
THEIRS = ("call_theirs_000000000000000001", "theirs", '{"x":1}')


def scripts(upstream: Upstream) -> tuple[list[str], Rounds]:
    """The names of the scripts in the order the programs take them, and the mixed one."""
    mixed = conversation(upstream, [OURS, THEIRS], "All done.", stream=False)
    plays = [
        conversation(upstream, [OURS], "It is 42.", stream=False),
        mixed,
        conversation(upstream, [OURS], "It is 42.", stream=True),
        conversation(upstream, ("One moment.", [OURS, THEIRS]), stream=True),
        upstream.play(SSE_HEAD, chunk(delta("half")), FIN),
    ]
    return [play.model for play in plays], mixed


def run(command: list[str], **more: str) -> dict[str, Any]:
    """The program's output."""
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **more}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


def check(checked: dict[str, Any], mixed: Rounds) -> None:
    assert checked["conversation"] == "It is 42."
    assert checked["call"] == [["theirs", {"x": 1}]]
    assert checked["mixed"] == "All done."
    assert checked["streamed"] == "It is 42."
    text, arguments, tokens = checked["helped"]
    assert (text, json.loads(arguments), tokens) == ("One moment.", {"x": 1}, 15)
    sent = mixed.bodies()[1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert [message["content"] for message in sent[3:]] == ["42", "on"]


@pytest.mark.slow
def test_openai_for_node(augmented_daemon: Daemon, upstream: Upstream) -> None:
    modules, node = installed("openai"), shutil.which("node")
    if modules is None or node is None:
        pytest.skip("the openai package for Node cannot be installed here")
    names, mixed = scripts(upstream)
    checked = run([node, str(CLIENTS / "node.cjs"), augmented_daemon.url, *names], NODE_PATH=str(modules))
    check(checked, mixed)
    assert "executing_tool" in checked["states"]
    assert checked["broken"] == "APIError"


@pytest.mark.slow
def test_langchain(augmented_daemon: Daemon, upstream: Upstream) -> None:
    python = interpreter(CLIENTS / "langchain.lock")
    if python is None:
        pytest.skip("LangChain cannot be installed here")
    names, mixed = scripts(upstream)
    checked = run([str(python), str(CLIENTS / "langchain_client.py"), augmented_daemon.url, *names])
    check(checked, mixed)
    assert checked["broken"] != "no error"
