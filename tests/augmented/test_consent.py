"""`confirm`: calls that wait for a person's consent, in every mode and every API."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.augmented.talk import Call, chat, conversation
from tests.front.configurations import front_conf
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

FAULT_SERVER = Path(__file__).parent.parent / "mcp" / "fault_server.py"
TOOLS = '''
import pathlib

from openai_proxy import tool


@tool
def unlock(door: str, note: str = "") -> str:
    """Unlocks a door."""
    path = pathlib.Path(__file__).parent.parent.parent / "unlocked"
    with path.open("a") as file:
        file.write(door + "\\n")
    return f"{door} is open"
'''
MODELS = {
    "models/door.yaml": json.dumps(
        {
            "name": "augmented/door",
            "upstream_model": "m-door",
            "tools": ["unlock", "calculator"],
            "confirm": ["unl*", "mcp_old_echo"],
            "mcp_servers": {
                "old": {"whitelist": ["echo"], "rename": {"echo": "say"}, "describe": {"echo": "Says it."}}
            },
            "system_prompt": "{{unlock(door='of the prompt')}}",
        }
    ),
    "mcp/servers.yaml": json.dumps({"servers": {"old": {"command": sys.executable, "args": [str(FAULT_SERVER)]}}}),
    "tools/door.py": TOOLS,
}
ASKED = {"role": "assistant", "content": "May I?"}
YES = {"role": "user", "content": "Yes"}
FRONT = '{"door": "front", "note": "x"}'
MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])


@pytest.fixture(scope="module")
def doors(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("doors"), front_conf(upstream, execute_tools=True), files=MODELS).start()
    try:
        eventually(
            lambda: daemon.get("/admin/status").json()["mcp_servers"][0]["state"] == "ready", "the MCP server is ready"
        )
        yield daemon
        daemon.stop()
    finally:
        daemon.kill()


@pytest.fixture
def hello(request: pytest.FixtureRequest, doors: Daemon) -> dict[str, str]:
    """The first message of a conversation that only this test uses; no door is open."""
    (doors.root / "unlocked").unlink(missing_ok=True)
    return {"role": "user", "content": f"Open the front door ({request.node.name})"}


def opened(doors: Daemon) -> list[str]:
    path = doors.root / "unlocked"
    return [line for line in path.read_text().splitlines() if line != "of the prompt"] if path.exists() else []


def turn(
    doors: Daemon, upstream: Upstream, *messages: dict[str, str], call: Call = ("c1", "unlock", FRONT), stream: bool,
    **more: Any,
) -> str:  # fmt: skip
    """One request in which the model calls once and then answers; returns the result of its call."""
    play = conversation(upstream, [call], "Well.", stream=stream)
    assert chat(doors, "door", play, stream=stream, messages=list(messages), **more).content == "Well."
    return str(play.bodies()[-1]["messages"][-1]["content"])


@MODES
def test_it_runs_once_after_the_person_has_spoken(
    doors: Daemon, upstream: Upstream, hello: dict[str, str], stream: bool
) -> None:
    assert "needs the person's consent" in turn(doors, upstream, hello, stream=stream)
    assert opened(doors) == []
    assert turn(doors, upstream, hello, ASKED, YES, stream=stream) == "front is open"
    assert opened(doors) == ["front"]
    assert "needs the person's consent" in turn(doors, upstream, hello, ASKED, YES, stream=stream)
    assert opened(doors) == ["front"]


@MODES
def test_what_does_not_count_as_consent(doors: Daemon, upstream: Upstream, hello: dict[str, str], stream: bool) -> None:
    play = conversation(upstream, [("c1", "unlock", FRONT)], [("c2", "unlock", FRONT)], "Well.", stream=stream)
    assert chat(doors, "door", play, stream=stream, messages=[hello]).content == "Well."
    turn(doors, upstream, hello, stream=stream)
    turn(doors, upstream, hello, ASKED, stream=stream)
    turn(doors, upstream, hello, ASKED, YES, call=("c1", "unlock", '{"door": "back"}'), stream=stream)
    turn(doors, upstream, {"role": "user", "content": "Something else"}, ASKED, YES, stream=stream)
    turn(doors, upstream, hello, ASKED, YES, headers=[("X-Session-ID", "another")], stream=stream)
    assert opened(doors) == []


def test_equal_arguments_are_compared_as_json(doors: Daemon, upstream: Upstream, hello: dict[str, str]) -> None:
    turn(doors, upstream, hello, stream=True)
    call = ("c1", "unlock", '{"note":"x",   "door":"front"}')
    assert turn(doors, upstream, hello, ASKED, YES, call=call, stream=True) == "front is open"


def test_a_named_conversation(doors: Daemon, upstream: Upstream, hello: dict[str, str]) -> None:
    more = {"headers": [("X-Session-ID", "mine")], "stream": True}
    turn(doors, upstream, hello, **more)
    assert turn(doors, upstream, hello, ASKED, YES, **more) == "front is open"


def test_a_renamed_tool_of_a_server_needs_consent_too(doors: Daemon, upstream: Upstream, hello: dict[str, str]) -> None:
    call = ("c1", "mcp_old_say", '{"text": "hi"}')
    play = conversation(upstream, [call], "Well.", stream=True)
    assert chat(doors, "door", play, stream=True, messages=[hello]).content == "Well."
    offered = {t["function"]["name"]: t["function"]["description"] for t in play.bodies()[0]["tools"]}
    assert offered["mcp_old_say"] == "Says it."
    assert "mcp_old_echo" not in offered
    assert "consent" in play.bodies()[-1]["messages"][-1]["content"]
    assert turn(doors, upstream, hello, ASKED, YES, call=call, stream=True) == "hi"


def test_calls_in_the_owners_prompt_need_no_consent(doors: Daemon, upstream: Upstream, hello: dict[str, str]) -> None:
    turn(doors, upstream, hello, stream=True)
    assert "of the prompt" in (doors.root / "unlocked").read_text()


def test_execute_tools_needs_consent_too(doors: Daemon, upstream: Upstream, hello: dict[str, str]) -> None:
    tools = [{"type": "function", "function": {"name": "unlock", "parameters": {"type": "object", "properties": {}}}}]

    def ask(*messages: dict[str, str]) -> str:
        play = conversation(upstream, [("c1", "unlock", FRONT)], "Well.", stream=False)
        body = {"model": "m-plain", "messages": list(messages), "tools": tools}
        doors.post("/v1/chat/completions", json.dumps(body).encode(), headers=[("X-Play", play.model)])
        return str(play.bodies()[-1]["messages"][-1]["content"])

    assert "consent" in ask(hello)
    assert ask(hello, ASKED, YES) == "front is open"


@pytest.mark.parametrize("path", ["/mcp", "/mcp/augmented/door"])
def test_a_client_that_cannot_ask_gets_an_explanation(doors: Daemon, hello: dict[str, str], path: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    body["params"] = {"name": "unlock", "arguments": {"door": "front"}}
    headers = [("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")]
    for _ in range(2):
        result = doors.post(path, json.dumps(body).encode(), headers=headers).json()["result"]
        assert result["isError"] is True
        assert "needs a person's consent" in result["content"][0]["text"]
    assert opened(doors) == []
