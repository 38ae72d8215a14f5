"""More tools than a model can read: they are found by search, and stay for the conversation."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.augmented.talk import chat, conversation, names
from tests.front.configurations import front_conf
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

FAULT_SERVER = Path(__file__).parent.parent / "mcp" / "fault_server.py"
BIG = {"command": sys.executable, "args": [str(FAULT_SERVER), "many=60"], "blacklist": ["die"]}
HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Done."}


def model(name: str, **more: Any) -> str:
    return json.dumps({"name": f"augmented/{name}", "upstream_model": f"m-{name}", "tools": ["calculator"], **more})


FILES = {
    "mcp/servers.yaml": json.dumps({"servers": {"big": BIG}}),
    "models/auto.yaml": model("auto", mcp_servers=["big"]),
    "models/all.yaml": model("all", mcp_servers={"big": {"defer": False}}),
    "models/few.yaml": model("few", mcp_servers={"big": {"whitelist": ["echo", "sleep"], "defer": True}}),
}


@pytest.fixture(scope="module")
def many(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("many"), front_conf(upstream), files=FILES).start()
    try:
        eventually(
            lambda: daemon.get("/admin/status").json()["mcp_servers"][0]["state"] == "ready", "the MCP server is ready"
        )
        yield daemon
        daemon.stop()
    finally:
        daemon.kill()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_a_tool_is_found_called_and_offered_from_then_on(many: Daemon, upstream: Upstream, stream: bool) -> None:
    first = {"role": "user", "content": f"Hello, {stream}"}
    play = conversation(
        upstream,
        [("c1", "find_tools", '{"query": "echo something"}')],
        [("c2", "mcp_big_echo", '{"text": "hi"}')],
        "Done.",
        stream=stream,
    )
    assert chat(many, "auto", play, stream=stream, messages=[first]).content == "Done."
    one, two, three = play.bodies()
    assert names(one) == ["calculator", "find_tools"]
    assert "- mcp_big_echo: The tool echo" in two["messages"][-1]["content"]
    assert names(two)[:3] == ["calculator", "find_tools", "mcp_big_echo"]
    assert three["messages"][-1]["content"] == "hi"
    assert names(three) == names(two)
    play = conversation(upstream, "Again.", stream=stream)
    chat(many, "auto", play, stream=stream, messages=[first, ANSWER, {"role": "user", "content": "More"}])
    assert names(play.bodies()[0]) == names(two)
    play = conversation(upstream, "Other.", stream=stream)
    chat(many, "auto", play, stream=stream, messages=[HELLO])
    assert names(play.bodies()[0]) == ["calculator", "find_tools"]


def test_defer_false_lists_all_and_true_none(many: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, "Fine.", stream=True)
    chat(many, "all", play, stream=True)
    assert len(names(play.bodies()[0])) > 60
    play = conversation(upstream, "Fine.", stream=True)
    chat(many, "few", play, stream=True)
    assert names(play.bodies()[0]) == ["calculator", "find_tools"]


def test_the_gateway_lists_all_tools_of_a_model(many: Daemon) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    headers = [("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")]
    listed = many.post("/mcp/augmented/auto", body, headers=headers).json()["result"]["tools"]
    assert len(listed) > 60
    assert "find_tools" not in [tool["name"] for tool in listed]
