"""`/mcp` with clients of both protocol versions: lists, calls, progress, cancellation, and refusals."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Answer

from .conftest import LEGACY, MODERN, GatewayDaemon

pytestmark = pytest.mark.slow

STREAM = [("Accept", "text/event-stream"), ("MCP-Protocol-Version", "2025-06-18")]
BOTH = pytest.mark.parametrize("modern", [False, True], ids=["handshake", "stateless"])


def text_of(answer: Answer) -> str:
    """The text of a tool's result."""
    return str(answer.json()["result"]["content"][0]["text"])


@BOTH
def test_our_tools_are_offered_and_run(gateway_daemon: GatewayDaemon, modern: bool) -> None:
    gateway_daemon.until_ready()
    names = gateway_daemon.names(modern=modern)
    assert {"mcp_old_echo", "mcp_new_echo", "double", "calculator"} <= set(names)
    assert "mcp_old_die" not in names
    assert names == sorted(names)
    answer = gateway_daemon.post("tools/call", {"name": "mcp_old_echo", "arguments": {"text": "hello"}}, modern=modern)
    assert answer.json()["result"]["isError"] is False
    assert text_of(answer) == "hello"
    assert (
        text_of(gateway_daemon.post("tools/call", {"name": "double", "arguments": {"number": 21}}, modern=modern))
        == "42"
    )


@BOTH
def test_wrong_arguments_are_a_result_and_an_unknown_tool_an_error(gateway_daemon: GatewayDaemon, modern: bool) -> None:
    gateway_daemon.until_ready()
    answer = gateway_daemon.post("tools/call", {"name": "mcp_old_echo", "arguments": {"text": 7}}, modern=modern).json()
    assert answer["result"]["isError"] is True
    assert "text" in answer["result"]["content"][0]["text"]
    for name in ("mcp_old_die", "nothing"):
        refused = gateway_daemon.post("tools/call", {"name": name}, modern=modern)
        assert refused.json()["error"]["code"] == -32602
        assert refused.status == (400 if modern else 200)


def test_the_handshake_selects_a_version_and_issues_a_session(gateway_daemon: GatewayDaemon) -> None:
    for asked, given in (("2025-06-18", "2025-06-18"), ("2024-11-05", "2024-11-05"), ("1999-01-01", LEGACY)):
        answer = gateway_daemon.post("initialize", {"protocolVersion": asked, "capabilities": {}, "clientInfo": {}})
        result = answer.json()["result"]
        assert result["protocolVersion"] == given
        assert result["capabilities"] == {"tools": {"listChanged": True}}
        assert result["serverInfo"]["name"] == "openai-proxy"
        assert answer.header("mcp-session-id")
    assert gateway_daemon.post("notifications/initialized", request_id=None).status == 202
    assert gateway_daemon.post("ping").json()["result"] == {}


def test_the_stateless_version_is_discovered_and_checked(gateway_daemon: GatewayDaemon) -> None:
    result = gateway_daemon.post("server/discover", modern=True).json()["result"]
    assert result["supportedVersions"] == [MODERN]
    assert result["resultType"] == "complete"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "openai-proxy"
    for headers, code in (
        ({"mcp-method": "tools/call"}, -32020),
        ({"mcp-protocol-version": "2030-01-01"}, -32020),
    ):
        answer = gateway_daemon.post("tools/list", modern=True, headers=headers)
        assert (answer.status, answer.json()["error"]["code"]) == (400, code)
    unsupported = gateway_daemon.post(
        "tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": "2030-01-01"}}, modern=True,
        headers={"mcp-protocol-version": "2030-01-01"},
    )  # fmt: skip
    assert unsupported.status == 400
    assert unsupported.json()["error"]["data"]["supported"] == [MODERN]


@BOTH
def test_unsupported_methods_are_protocol_errors(gateway_daemon: GatewayDaemon, modern: bool) -> None:
    refused = ["resources/read", "nonsense"]
    if modern:
        refused += ["resources/list", "prompts/list", "resources/templates/list"]
    else:  # clients of that version request it although it is not offered
        assert gateway_daemon.post("resources/list").json()["result"]["resources"] == []
    for method in refused:
        answer = gateway_daemon.post(method, modern=modern)
        assert answer.json()["error"]["code"] == -32601
        assert answer.status == (404 if modern else 200)
    assert gateway_daemon.post("tools/list", {"cursor": "x"}, modern=modern).json()["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32600),
    ],
)
def test_an_invalid_body_is_reported(gateway_daemon: GatewayDaemon, body: bytes, code: int) -> None:
    answer = gateway_daemon.daemon.post("/mcp", body)
    assert (answer.status, answer.json()["error"]["code"]) == (400, code)


def test_other_methods_and_unrequested_answers(gateway_daemon: GatewayDaemon) -> None:
    assert gateway_daemon.daemon.get("/mcp").status == 405
    with gateway_daemon.daemon.wire() as wire:
        answer = wire.request("PUT", "/mcp", body=b"{}").answer()
    assert (answer.status, answer.header("allow")) == (405, "GET, POST, DELETE")
    assert answer.json()["jsonrpc"] == "2.0"
    assert gateway_daemon.daemon.post("/mcp", b'{"jsonrpc": "2.0", "id": 1, "result": {}}').status == 202
    session = {"mcp-session-id": "s"}
    assert (
        gateway_daemon.post("ping", headers=session).status == 200
    )  # nothing is stored about sessions, so any daemon accepts it
    with gateway_daemon.daemon.wire() as wire:
        assert wire.request("DELETE", "/mcp", headers=list(session.items())).answer().status == 200
    assert gateway_daemon.post("ping", headers=session).status == 404


def test_a_models_endpoint_offers_exactly_its_tools(gateway_daemon: GatewayDaemon) -> None:
    gateway_daemon.until_ready()
    assert gateway_daemon.names(path="/mcp/augmented/small") == ["double", "mcp_old_echo"]
    about = gateway_daemon.post("initialize", {"protocolVersion": LEGACY}, path="/mcp/augmented/small").json()["result"]
    assert about["instructions"] == "The small one."
    refused = gateway_daemon.post(
        "tools/call", {"name": "mcp_new_echo", "arguments": {"text": "a"}}, path="/mcp/augmented/small"
    )
    assert refused.json()["error"]["code"] == -32602
    for model in ("augmented/none", "echo", "augmented"):
        answer = gateway_daemon.post("tools/list", path=f"/mcp/{model}")
        assert (answer.status, answer.header("x-proxy-error")) == (404, "model_not_found")


GROUPS = {
    "groups": {
        "all": {"api_keys": ["sk-all"], "mcp": ["*"]},
        "some": {"api_keys": ["sk-some"], "mcp": ["ne*"], "allowed_models": ["other"]},
        "own": {"api_keys": ["sk-own"], "mcp": ["tools"]},
        "none": {"api_keys": ["sk-none"]},
    }
}


def test_a_group_sees_the_servers_named_by_its_globs(tmp_path: Path) -> None:
    with GatewayDaemon(tmp_path, GROUPS).serving() as gateway_daemon:
        gateway_daemon.until_ready()

        def seen(key: str, **options: Any) -> set[str]:
            return set(gateway_daemon.names(headers={"authorization": f"Bearer {key}"}, **options))

        assert {"mcp_old_echo", "mcp_new_echo", "double"} <= seen("sk-all")
        assert seen("sk-some") == {"mcp_new_echo", "mcp_new_grow", "mcp_new_slow"}
        assert "double" in seen("sk-own")
        assert not any(name.startswith("mcp_") for name in seen("sk-own"))
        assert seen("sk-none") == set()
        assert seen("sk-none", path="/mcp/augmented/small") == {"double", "mcp_old_echo"}
        headers = {"x-api-key": "sk-some"}
        outside = gateway_daemon.post(
            "tools/call", {"name": "mcp_old_echo", "arguments": {"text": "a"}}, headers=headers
        )
        assert outside.json()["error"]["message"] == "Unknown tool: mcp_old_echo"
        assert gateway_daemon.post("tools/list", path="/mcp/augmented/small", headers=headers).status == 404
        for headers in ({}, {"authorization": "Bearer sk-wrong"}):
            answer = gateway_daemon.post("tools/list", headers=headers)
            assert answer.status == 401
            assert answer.header("www-authenticate") == "Bearer"
            assert answer.json()["error"]["code"] == -32600


def test_foreign_web_pages_are_not_served(gateway_daemon: GatewayDaemon) -> None:
    answer = gateway_daemon.post("tools/list", headers={"origin": "https://evil.example"})
    assert (answer.status, answer.json()["jsonrpc"]) == (403, "2.0")


async def test_the_sdks_client_with_both_versions(gateway_daemon: GatewayDaemon) -> None:
    gateway_daemon.until_ready()
    for mode, version in (("auto", MODERN), ("legacy", LEGACY)):
        async with gateway_daemon.client(mode=mode) as client:
            assert client.protocol_version == version
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "mcp_new_slow" in names
            told: list[tuple[float, float | None, str | None]] = []

            async def report_progress(
                progress: float, total: float | None, message: str | None, told: Any = told
            ) -> None:
                told.append((progress, total, message))

            result = await client.call_tool("mcp_new_slow", {}, progress_callback=report_progress)
            assert result.content[0].text == "done"  # type: ignore[union-attr]
            assert told == [(1.0, 2.0, "half way")]


async def test_list_changes_are_announced_to_listeners_of_both_versions(own_gateway_daemon: GatewayDaemon) -> None:
    own_gateway_daemon.until_ready()
    heard = asyncio.Event()

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            heard.set()

    async with (
        own_gateway_daemon.client(mode="legacy", message_handler=hear) as old,
        own_gateway_daemon.client() as new,
    ):
        assert "mcp_new_grown" not in [tool.name for tool in (await old.list_tools()).tools]
        async with asyncio.timeout(PATIENCE), new.listen(tools_list_changed=True) as events:
            await new.call_tool("mcp_new_grow", {})
            await anext(aiter(events))
        assert "mcp_new_grown" in [tool.name for tool in (await new.list_tools()).tools]
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
            heard.clear()
            own_gateway_daemon.configure(
                old={**own_gateway_daemon.servers["old"], "whitelist": ["echo"]}
            )  # also an edit
            await heard.wait()
        assert "mcp_old_sleep" not in [tool.name for tool in (await old.list_tools()).tools]


async def test_a_disconnect_or_cancellation_ends_the_call(gateway_daemon: GatewayDaemon) -> None:
    gateway_daemon.until_ready()
    for mode in ("legacy", "auto"):
        async with gateway_daemon.client(mode=mode) as client:
            before = await _cancelled(client)
            call = asyncio.ensure_future(client.call_tool("mcp_old_sleep", {"seconds": 30}))
            await asyncio.to_thread(eventually, lambda: _running(gateway_daemon), "the call runs")
            call.cancel()
            await asyncio.wait({call}, timeout=PATIENCE)
            await asyncio.to_thread(eventually, lambda: not _running(gateway_daemon), "the call has ended")
            assert await _cancelled(client) == before + 1


async def _cancelled(client: Client) -> int:
    """How many calls the server was asked to cancel."""
    counted = await client.call_tool("mcp_old_cancelled", {})
    return int(counted.content[0].text)  # type: ignore[union-attr]


def _running(gateway_daemon: GatewayDaemon) -> list[dict[str, Any]]:
    requests = gateway_daemon.daemon.get("/admin/status").json()["requests"]
    return [request for request in requests if request["model"] == "mcp"]


def test_an_admin_can_cancel_a_call(gateway_daemon: GatewayDaemon) -> None:
    from openai_proxy.cli.control import ask

    gateway_daemon.until_ready()
    with gateway_daemon.daemon.wire() as wire:
        body = {"jsonrpc": "2.0", "id": 5, "method": "tools/call",
                "params": {"name": "mcp_old_sleep", "arguments": {"seconds": 30}}}  # fmt: skip
        wire.request("POST", "/mcp", body=json.dumps(body).encode())
        [running] = eventually(lambda: _running(gateway_daemon), "the call runs")
        assert ask(gateway_daemon.daemon.state_dir, "POST", f"/admin/requests/{running['id']}/cancel")[0] == 200
        answer = wire.answer().json()
    assert answer["id"] == 5
    assert answer["error"]["message"] == "The request was cancelled."


def test_calls_are_logged_and_results_are_bounded(own_gateway_daemon: GatewayDaemon) -> None:
    own_gateway_daemon.until_ready()
    own_gateway_daemon.post("tools/call", {"name": "double", "arguments": {"number": 4}})
    huge = own_gateway_daemon.post("tools/call", {"name": "mcp_old_echo", "arguments": {"text": "x" * 300_000}})
    assert len(text_of(huge)) < 110_000

    def lines() -> list[dict[str, Any]]:
        return [line for line in own_gateway_daemon.daemon.log_lines() if line["type"] == "tool_call"]

    eventually(lambda: len(lines()) == 2, "both calls are in the log")
    first = lines()[0]
    assert (first["tool"], first["arguments"], first["result"], first["status"]) == ("double", {"number": 4}, "8", "ok")
    assert {line["type"] for line in own_gateway_daemon.daemon.log_lines()} == {"tool_call"}
    assert first["model"] == "mcp"


def test_a_second_client_starts_no_second_process(gateway_daemon: GatewayDaemon) -> None:
    gateway_daemon.until_ready()
    before = {child.pid for child in gateway_daemon.daemon.children()}
    for _ in range(3):
        assert text_of(gateway_daemon.post("tools/call", {"name": "mcp_old_echo", "arguments": {"text": "a"}})) == "a"
    assert {child.pid for child in gateway_daemon.daemon.children()} == before


def test_open_streams_lease_no_configuration_and_end_with_their_clients(gateway_daemon: GatewayDaemon) -> None:
    with gateway_daemon.daemon.wire() as wire:
        wire.request("GET", "/mcp", headers=STREAM, content_type=None)
        assert wire.read_head(method="GET").header("content-type") == "text/event-stream"
        wire.read_until(b": open")
        requests = gateway_daemon.daemon.get("/admin/status").json()["requests"]
        assert [request["path"] for request in requests] == []
    eventually(lambda: gateway_daemon.daemon.clients() == 0, "the stream's connection is closed")


def test_a_client_of_http_sse_is_refused_at_once(gateway_daemon: GatewayDaemon) -> None:
    """Home Assistant before it supported Streamable HTTP: it would wait for the event `endpoint` forever."""
    with gateway_daemon.daemon.wire() as wire:
        wire.request("GET", "/mcp", headers=STREAM[:1], content_type=None)
        assert wire.answer(method="GET").status == 405


def test_open_streams_end_with_the_daemon(own_gateway_daemon: GatewayDaemon) -> None:
    with own_gateway_daemon.daemon.wire() as wire:
        wire.request("GET", "/mcp", headers=STREAM, content_type=None)
        own_gateway_daemon.until_ready()
        own_gateway_daemon.daemon.stop()
        own_gateway_daemon.daemon.start()
    assert "double" in own_gateway_daemon.names()
