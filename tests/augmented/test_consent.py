"""`confirm`: what waits for a person's yes, in every mode and at every door."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.augmented.talk import Call, chat, conversation
from tests.front.house import front_conf
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
HELLO = {"role": "user", "content": "Open the front door"}
ASKED = {"role": "assistant", "content": "May I?"}
YES = {"role": "user", "content": "Yes"}
FRONT = '{"door": "front", "note": "x"}'
MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])


@pytest.fixture
def house(upstream: Upstream, tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, front_conf(upstream, execute_tools=True), files=MODELS).start()
    try:
        eventually(lambda: daemon.get("/admin/status").json()["mcp_servers"][0]["state"] == "ready", "it is ready")
        yield daemon
        daemon.stop()
    finally:
        daemon.kill()


def opened(house: Daemon) -> list[str]:
    path = house.root / "unlocked"
    return [line for line in path.read_text().splitlines() if line != "of the prompt"] if path.exists() else []


def turn(
    house: Daemon, upstream: Upstream, *messages: dict[str, str], call: Call = ("c1", "unlock", FRONT), stream: bool,
    **more: Any,
) -> str:  # fmt: skip
    """One request in which the model calls once and then answers; what it was told of its call."""
    play = conversation(upstream, [call], "Well.", stream=stream)
    assert chat(house, "door", play, stream=stream, messages=list(messages), **more).content == "Well."
    return str(play.bodies()[-1]["messages"][-1]["content"])


@MODES
def test_it_runs_once_after_the_person_has_spoken(house: Daemon, upstream: Upstream, stream: bool) -> None:
    assert "needs the person's consent" in turn(house, upstream, HELLO, stream=stream)
    assert opened(house) == []
    assert turn(house, upstream, HELLO, ASKED, YES, stream=stream) == "front is open"
    assert opened(house) == ["front"]
    assert "needs the person's consent" in turn(house, upstream, HELLO, ASKED, YES, stream=stream)
    assert opened(house) == ["front"]


@MODES
def test_what_is_no_yes(house: Daemon, upstream: Upstream, stream: bool) -> None:
    play = conversation(upstream, [("c1", "unlock", FRONT)], [("c2", "unlock", FRONT)], "Well.", stream=stream)
    assert chat(house, "door", play, stream=stream, messages=[HELLO]).content == "Well."
    turn(house, upstream, HELLO, stream=stream)
    turn(house, upstream, HELLO, ASKED, stream=stream)
    turn(house, upstream, HELLO, ASKED, YES, call=("c1", "unlock", '{"door": "back"}'), stream=stream)
    turn(house, upstream, {"role": "user", "content": "Something else"}, ASKED, YES, stream=stream)
    turn(house, upstream, HELLO, ASKED, YES, headers=[("X-Session-ID", "another")], stream=stream)
    assert opened(house) == []


def test_equal_arguments_are_compared_as_json(house: Daemon, upstream: Upstream) -> None:
    turn(house, upstream, HELLO, stream=True)
    call = ("c1", "unlock", '{"note":"x",   "door":"front"}')
    assert turn(house, upstream, HELLO, ASKED, YES, call=call, stream=True) == "front is open"


def test_a_conversation_with_a_name(house: Daemon, upstream: Upstream) -> None:
    more = {"headers": [("X-Session-ID", "mine")], "stream": True}
    turn(house, upstream, HELLO, **more)
    assert turn(house, upstream, HELLO, ASKED, YES, **more) == "front is open"


def test_a_renamed_tool_of_a_server_waits_too_and_has_its_new_words(house: Daemon, upstream: Upstream) -> None:
    call = ("c1", "mcp_old_say", '{"text": "hi"}')
    play = conversation(upstream, [call], "Well.", stream=True)
    assert chat(house, "door", play, stream=True, messages=[HELLO]).content == "Well."
    offered = {t["function"]["name"]: t["function"]["description"] for t in play.bodies()[0]["tools"]}
    assert offered["mcp_old_say"] == "Says it."
    assert "mcp_old_echo" not in offered
    assert "consent" in play.bodies()[-1]["messages"][-1]["content"]
    assert turn(house, upstream, HELLO, ASKED, YES, call=call, stream=True) == "hi"


def test_what_the_owner_wrote_into_the_prompt_runs(house: Daemon, upstream: Upstream) -> None:
    turn(house, upstream, HELLO, stream=True)
    assert "of the prompt" in (house.root / "unlocked").read_text()


def test_a_plain_model_with_our_tools_needs_it_too(house: Daemon, upstream: Upstream) -> None:
    tools = [{"type": "function", "function": {"name": "unlock", "parameters": {"type": "object", "properties": {}}}}]

    def ask(*messages: dict[str, str]) -> str:
        play = conversation(upstream, [("c1", "unlock", FRONT)], "Well.", stream=False)
        body = {"model": "m-plain", "messages": list(messages), "tools": tools}
        house.post("/v1/chat/completions", json.dumps(body).encode(), headers=[("X-Play", play.model)])
        return str(play.bodies()[-1]["messages"][-1]["content"])

    assert "consent" in ask(HELLO)
    assert ask(HELLO, ASKED, YES) == "front is open"


@pytest.mark.parametrize("path", ["/mcp", "/mcp/augmented/door"])
def test_a_client_that_can_ask_nobody_is_told_so(house: Daemon, path: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    body["params"] = {"name": "unlock", "arguments": {"door": "front"}}
    headers = [("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")]
    for _ in range(2):
        result = house.post(path, json.dumps(body).encode(), headers=headers).json()["result"]
        assert result["isError"] is True
        assert "needs a person's consent" in result["content"][0]["text"]
    assert opened(house) == []
