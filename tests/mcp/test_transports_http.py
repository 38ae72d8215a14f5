"""Servers over Streamable HTTP: sessions, faults that must affect only one call, Home Assistant."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from openai_proxy.tools.base import CallContext

from .conftest import Config, Supervised, eventually
from .fake_http import FakeServer, fake_server


def remote(server: FakeServer, **more: Any) -> Config:
    """The configuration of a fake server."""
    return Config(type="streamablehttp", url=server.url, **more)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def test_a_remote_server_is_listed_called_and_its_session_ended(
    supervised: Supervised, server: FakeServer
) -> None:
    await supervised.start(remote(server))
    assert (await supervised.echo("hi")).text == "hi"
    assert supervised.status()["pid"] is None
    await supervised.supervisor.aclose()
    assert server.deleted == 1


async def test_a_call_sends_its_trace_context_in_a_header(supervised: Supervised, server: FakeServer) -> None:
    await supervised.start(remote(server))
    told = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "house=1"}
    context = CallContext(meta={**told, "other": "1"})
    async with asyncio.timeout(30):
        assert not (await supervised.tool("echo").call({"text": "hi"}, context)).is_error
    (called,) = [seen for seen in server.seen if seen.get("method") == "tools/call"]
    assert called["params"]["_meta"]["other"] == "1"
    fields = {name.lower(): value for name, value in called["_headers"].items()}
    assert {name: fields.get(name) for name in (*told, "other")} == {**told, "other": None}
    assert not any("traceparent" in seen["_headers"] for seen in server.seen if seen is not called)


@pytest.mark.parametrize("fault", ["", "session-400"])
async def test_a_forgotten_session_is_replaced_within_the_call(
    supervised: Supervised, server: FakeServer, fault: str
) -> None:
    await supervised.start(remote(server))
    server.fault = fault
    server.sessions.clear()
    assert (await supervised.echo("hi")).text == "hi"
    assert server.calls == 1


async def test_a_restarted_server_is_found_again(supervised: Supervised, server: FakeServer) -> None:
    await supervised.start(remote(server))
    await server.stop()
    assert (await supervised.echo("lost")).is_error
    await supervised.state("backoff")
    assert "refused" in supervised.status()["last_error"]
    assert supervised.status()["tools"]
    await server.start()
    await supervised.state("ready")
    assert (await supervised.echo("hi")).text == "hi"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("status-429", "429"),
        ("status-503", "503"),
        ("html", ""),
        ("bad-json", ""),
        ("redirect", "307"),
        ("gzip", ""),
        ("fin", "unknown"),
        ("cut-body", ""),
        ("cut-events", "unknown"),
        ("stall", "No answer"),
        ("huge", ""),
    ],
)
async def test_a_fault_affects_only_one_call(
    supervised: Supervised, server: FakeServer, fault: str, words: str
) -> None:
    await supervised.start(remote(server))
    other = asyncio.create_task(supervised.call("wait"))
    await eventually(lambda: server.calls == 1)
    server.fault = fault
    if fault == "stall":
        supervised.configure(remote(server, timeout=0.7))  # applies to calls from now on
    result = await supervised.echo("x")
    supervised.configure(remote(server))
    assert result.is_error, result
    assert words in result.text
    assert "127.0.0.1" not in result.text
    server.fault = ""
    assert (await other).text == "ok"
    assert (await supervised.echo("hi")).text == "hi"
    assert server.calls == 3
    assert supervised.status()["restarts"] == 0


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_say_what_to_do(supervised: Supervised, server: FakeServer, status: int) -> None:
    await supervised.start(remote(server))
    server.fault = f"status-{status}"
    assert "credentials" in (await supervised.echo("x")).text
    assert (await supervised.state("needs-auth"))["last_error"].count("servers.yaml") == 1
    again = await supervised.echo("x")
    assert again.is_error
    server.fault = ""
    supervised.supervisor.restart("fault")
    await supervised.state("ready")


@pytest.mark.parametrize(
    "about",
    [
        {"serverInfo": None},
        {"serverInfo": "fake 1"},
        {"serverInfo": {"name": 7}},
        {"serverInfo": {"name": "fake", "version": None, "icons": "none"}},
        {"capabilities": None},
        {"capabilities": {"tools": True, "logging": None, "prompts": False}},
        {"instructions": ["a", "list"], "_meta": 7},
        {"protocolVersion": None},
    ],
)
async def test_a_server_with_a_malformed_self_description_works(
    supervised: Supervised, server: FakeServer, about: dict[str, Any]
) -> None:
    server.about = about
    await supervised.start(remote(server))
    assert (await supervised.echo("hi")).text == "hi"


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_the_reason_for_a_refusal_is_reported(supervised: Supervised, server: FakeServer, status: int) -> None:
    server.refusal = status, "This house is closed on Mondays"
    supervised.configure(remote(server))
    assert "closed on Mondays" in (await supervised.state("backoff"))["last_error"]


async def test_the_wrong_type_is_reported(supervised: Supervised, server: FakeServer) -> None:
    supervised.configure(Config(type="sse", url=server.url))
    assert "needs type: streamablehttp" in (await supervised.state("backoff"))["last_error"]


async def test_the_wrong_type_the_other_way_round(supervised: Supervised) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=405 if request.method == "POST" else 200)

    runner = web.AppRunner(app := web.Application(), shutdown_timeout=0.1)
    app.router.add_route("*", "/sse", handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr,attr-defined]
    try:
        supervised.configure(Config(type="streamablehttp", url=f"http://127.0.0.1:{port}/sse"))
        assert "needs type: sse" in (await supervised.state("backoff"))["last_error"]
    finally:
        await runner.cleanup()


async def test_a_server_that_requires_a_token_becomes_ready_with_one(
    supervised: Supervised, server: FakeServer
) -> None:
    server.token = "secret-token-1"
    supervised.configure(remote(server))
    await supervised.state("needs-auth")
    supervised.configure(remote(server, headers={"Authorization": "Bearer secret-token-1"}))
    await supervised.state("ready")


@pytest.mark.parametrize("events", [False, True])
async def test_a_large_answer_is_reduced_not_refused(supervised: Supervised, events: bool) -> None:
    async with fake_server(events=events) as server:
        await supervised.start(remote(server))
        server.fault = "large-event" if events else "large"
        result = await supervised.call("echo")
        assert not result.is_error
        assert "left out" in result.text
        assert len(result.text) <= 100_100


async def test_an_event_beyond_the_cap_fails_its_call_only(supervised: Supervised) -> None:
    async with fake_server(events=True) as server:
        await supervised.start(remote(server))
        server.fault = "huge-event"
        result = await supervised.call("echo")
        assert result.is_error
        assert "too large" in result.text
        server.fault = ""
        assert (await supervised.echo("next")).text == "next"


async def test_home_assistant_without_a_session(supervised: Supervised) -> None:
    async with fake_server(home_assistant=True) as server:
        await supervised.start(remote(server, name="ha", whitelist=("*Get*",)))
        assert [tool.name for tool in supervised.supervisor.tools("ha")] == ["mcp_ha_homeassistant__GetLiveContext"]
        context = CallContext(meta={"io.home-assistant/device_id": "kitchen"})
        result = await supervised.tool("homeassistant__GetLiveContext", "ha").call({}, context)
        assert result.text == "Live Context:\n- names: Küche\n  state: 'on'\n"
        call = server.seen[-1]
        assert call["params"]["_meta"]["io.home-assistant/device_id"] == "kitchen"
        assert call["_headers"]["mcp-protocol-version"] == "2025-06-18"
        assert supervised.status("ha")["protocol"] == "2025-06-18"


async def test_a_list_without_announcements_is_read_again(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fake_server(home_assistant=True) as server:
        await supervised.start(remote(server))
        from openai_proxy.tools.mcp import connection

        monkeypatch.setattr(connection, "RELIST_UNANNOUNCED", 0.05)
        supervised.supervisor.restart("fault")
        server.tools.append("todo__get_items")
        await eventually(lambda: "todo__get_items" in supervised.status()["tools"])


async def test_too_many_tools_are_cut_and_reported(supervised: Supervised, server: FakeServer) -> None:
    server.fault = "many=3000"
    await supervised.start(remote(server))
    assert len(supervised.status()["tools"]) == 500
    assert supervised.status()["left_out"] == 2500


async def test_another_address_is_switched_to_without_a_gap(supervised: Supervised, server: FakeServer) -> None:
    await supervised.start(remote(server))
    async with fake_server() as other:
        other.tools.append("new")
        running = asyncio.create_task(supervised.call("wait"))
        await eventually(lambda: server.calls == 1)
        supervised.configure(remote(other))
        assert (await supervised.echo("never waits")).text == "never waits"
        await eventually(lambda: "new" in supervised.status()["tools"])
        assert (await running).text == "ok"
        await supervised.echo("x")
        assert other.calls >= 1


async def test_a_failing_successor_leaves_the_old_tools_serving(supervised: Supervised, server: FakeServer) -> None:
    await supervised.start(remote(server))
    supervised.configure(Config(type="streamablehttp", url="http://127.0.0.1:1/mcp"))
    await supervised.state("backoff")
    assert "echo" in supervised.status()["tools"]
    assert (await supervised.echo("old")).text == "old"
    async with fake_server() as other:
        supervised.configure(remote(other))
        await supervised.state("ready")
        assert (await supervised.echo("new")).text == "new"
        assert other.calls == 1
