"""A number of more than 64 bits keeps its digits on its way to a tool, back to the model, and through `/mcp`."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from openai_proxy.dialects.chat.google.repair import StreamRepair
from openai_proxy.dialects.chat.google.signatures import Signatures
from tests.front.configurations import front_conf
from tests.harness.daemon import Daemon
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

NUMBER = 12345678901234567890123
SERVER = """
import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m:
        continue
    result = {}
    if m["method"] == "initialize":
        result = {"protocolVersion": m["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "x", "version": "1"}}
    elif m["method"] == "tools/list":
        schema = {"type": "object", "properties": {"number": {"type": "integer"}}}
        result = {"tools": [{"name": "count", "inputSchema": schema}]}
    elif m["method"] == "tools/call":
        number = m["params"]["arguments"]["number"]
        result = {"content": [], "structuredContent": {"got": repr(number), "next": number + 1}}
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": result}), flush=True)
"""


@pytest.fixture(scope="module")
def configured_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("numbers")
    (root / "server.py").write_text(SERVER)
    files = {
        "models/counting.yaml": "name: counting\nupstream_model: m\nsystem_prompt: Hi.\nmcp_servers: [srv]\n",
        "mcp/servers.yaml": f"servers:\n  srv: {{type: stdio, command: {sys.executable}, args: [{root}/server.py]}}\n",
    }
    with Daemon(root, front_conf(upstream), files=files).serving(leaks=False) as daemon:
        yield daemon


def calls(arguments: str) -> bytes:
    call = {"id": "call_1", "type": "function", "function": {"name": "mcp_srv_count", "arguments": arguments}}
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


DOORS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/messages": {"max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"input": "hi"},
    "/api/chat": {"stream": False, "messages": [{"role": "user", "content": "hi"}]},
    "/v1beta/models/counting:generateContent": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


@pytest.mark.parametrize("door", DOORS)
def test_a_long_number_reaches_a_tool_and_comes_back(configured_daemon: Daemon, upstream: Upstream, door: str) -> None:
    play = upstream.rounds(plain(calls(json.dumps({"number": NUMBER}))), plain(completion("ok")))
    body = json.dumps({"model": "counting", **DOORS[door]}).encode()
    assert configured_daemon.post(door, body, headers=[("X-Play", play.model)]).status == 200
    result = json.loads(play.bodies()[1]["messages"][-1]["content"])
    assert result == {"got": str(NUMBER), "next": NUMBER + 1}


def test_a_long_number_passes_the_gateway(configured_daemon: Daemon) -> None:
    def ask(method: str, params: dict[str, Any], session: str | None = None) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        accept = [("Accept", "application/json, text/event-stream"), ("MCP-Protocol-Version", "2025-06-18")]
        return configured_daemon.post(
            "/mcp", body, headers=[*accept, *([("Mcp-Session-Id", session)] if session else [])]
        )

    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    session = ask("initialize", hello).header("mcp-session-id")
    eventually(lambda: b"mcp_srv_count" in ask("tools/list", {}, session).body, "the server's tool is offered")
    answer = ask("tools/call", {"name": "mcp_srv_count", "arguments": {"number": NUMBER}}, session)
    assert str(NUMBER + 1).encode() in answer.body
    assert str(NUMBER).encode() in answer.body


def test_long_numbers_in_answers_of_google() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    event = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}], "seed": NUMBER}
    repaired = StreamRepair(Signatures()).feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert json.loads(repaired.removeprefix(b"data: "))["seed"] == NUMBER
