"""Servers over Streamable HTTP: sessions, faults that must affect only one call, Home Assistant."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from openai_proxy.tools.base import CallContext

from .conftest import Config, House, eventually
from .fake_http import FakeServer, fake_server


def remote(server: FakeServer, **more: Any) -> Config:
    """The configuration of a fake server."""
    return Config(type="streamablehttp", url=server.url, **more)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def test_a_remote_server_is_listed_called_and_its_session_ended(house: House, server: FakeServer) -> None:
    await house.start(remote(server))
    assert (await house.echo("hi")).text == "hi"
    assert house.status()["pid"] is None
    await house.supervisor.aclose()
    assert server.deleted == 1


async def test_a_call_sends_its_trace_context_in_a_header(house: House, server: FakeServer) -> None:
    await house.start(remote(server))
    told = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "house=1"}
    context = CallContext(meta={**told, "other": "1"})
    async with asyncio.timeout(30):
        assert not (await house.tool("echo").call({"text": "hi"}, context)).is_error
    (called,) = [seen for seen in server.seen if seen.get("method") == "tools/call"]
    assert called["params"]["_meta"]["other"] == "1"
    fields = {name.lower(): value for name, value in called["_headers"].items()}
    assert {name: fields.get(name) for name in (*told, "other")} == {**told, "other": None}
    assert not any("traceparent" in seen["_headers"] for seen in server.seen if seen is not called)


@pytest.mark.parametrize("fault", ["", "session-400"])
async def test_a_forgotten_session_is_replaced_within_the_call(house: House, server: FakeServer, fault: str) -> None:
    await house.start(remote(server))
    server.fault = fault
    server.sessions.clear()
    assert (await house.echo("hi")).text == "hi"
    assert server.calls == 1


async def test_a_restarted_server_is_found_again(house: House, server: FakeServer) -> None:
    await house.start(remote(server))
    await server.stop()
    assert (await house.echo("lost")).is_error
    await house.state("backoff")
    assert "refused" in house.status()["last_error"]
    assert house.status()["tools"]
    await server.start()
    await house.state("ready")
    assert (await house.echo("hi")).text == "hi"


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
async def test_a_fault_affects_only_one_call(house: House, server: FakeServer, fault: str, words: str) -> None:
    await house.start(remote(server))
    other = asyncio.create_task(house.call("wait"))
    await eventually(lambda: server.calls == 1)
    server.fault = fault
    if fault == "stall":
        house.configure(remote(server, timeout=0.7))  # for calls from now on
    result = await house.echo("x")
    house.configure(remote(server))
    assert result.is_error, result
    assert words in result.text
    assert "127.0.0.1" not in result.text
    server.fault = ""
    assert (await other).text == "ok"
    assert (await house.echo("hi")).text == "hi"
    assert server.calls == 3
    assert house.status()["restarts"] == 0


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_say_what_to_do(house: House, server: FakeServer, status: int) -> None:
    await house.start(remote(server))
    server.fault = f"status-{status}"
    assert "credentials" in (await house.echo("x")).text
    assert (await house.state("needs-auth"))["last_error"].count("servers.yaml") == 1
    again = await house.echo("x")
    assert again.is_error
    server.fault = ""
    house.supervisor.restart("fault")
    await house.state("ready")


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
    house: House, server: FakeServer, about: dict[str, Any]
) -> None:
    server.about = about
    await house.start(remote(server))
    assert (await house.echo("hi")).text == "hi"


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_the_reason_for_a_refusal_is_reported(house: House, server: FakeServer, status: int) -> None:
    server.refusal = status, "This house is closed on Mondays"
    house.configure(remote(server))
    assert "closed on Mondays" in (await house.state("backoff"))["last_error"]


async def test_the_wrong_type_is_reported(house: House, server: FakeServer) -> None:
    house.configure(Config(type="sse", url=server.url))
    assert "needs type: streamablehttp" in (await house.state("backoff"))["last_error"]


async def test_the_wrong_type_the_other_way_round(house: House) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=405 if request.method == "POST" else 200)

    runner = web.AppRunner(app := web.Application(), shutdown_timeout=0.1)
    app.router.add_route("*", "/sse", handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr,attr-defined]
    try:
        house.configure(Config(type="streamablehttp", url=f"http://127.0.0.1:{port}/sse"))
        assert "needs type: sse" in (await house.state("backoff"))["last_error"]
    finally:
        await runner.cleanup()


async def test_a_server_that_requires_a_token_becomes_ready_with_one(house: House, server: FakeServer) -> None:
    server.token = "secret-token-1"
    house.configure(remote(server))
    await house.state("needs-auth")
    house.configure(remote(server, headers={"Authorization": "Bearer secret-token-1"}))
    await house.state("ready")


@pytest.mark.parametrize("events", [False, True])
async def test_a_large_answer_is_reduced_not_refused(house: House, events: bool) -> None:
    async with fake_server(events=events) as server:
        await house.start(remote(server))
        server.fault = "large-event" if events else "large"
        result = await house.call("echo")
        assert not result.is_error
        assert "left out" in result.text
        assert len(result.text) <= 100_100


async def test_an_event_beyond_the_cap_fails_its_call_only(house: House) -> None:
    async with fake_server(events=True) as server:
        await house.start(remote(server))
        server.fault = "huge-event"
        result = await house.call("echo")
        assert result.is_error
        assert "too large" in result.text
        server.fault = ""
        assert (await house.echo("next")).text == "next"


async def test_home_assistant_without_a_session(house: House) -> None:
    async with fake_server(home_assistant=True) as server:
        await house.start(remote(server, name="ha", whitelist=("*Get*",)))
        assert [tool.name for tool in house.supervisor.tools("ha")] == ["mcp_ha_homeassistant__GetLiveContext"]
        context = CallContext(meta={"io.home-assistant/device_id": "kitchen"})
        result = await house.tool("homeassistant__GetLiveContext", "ha").call({}, context)
        assert result.text == "Live Context:\n- names: Küche\n  state: 'on'\n"
        call = server.seen[-1]
        assert call["params"]["_meta"]["io.home-assistant/device_id"] == "kitchen"
        assert call["_headers"]["mcp-protocol-version"] == "2025-06-18"
        assert house.status("ha")["protocol"] == "2025-06-18"


async def test_a_list_without_announcements_is_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_server(home_assistant=True) as server:
        await house.start(remote(server))
        from openai_proxy.tools.mcp import connection

        monkeypatch.setattr(connection, "RELIST_UNANNOUNCED", 0.05)
        house.supervisor.restart("fault")
        server.tools.append("todo__get_items")
        await eventually(lambda: "todo__get_items" in house.status()["tools"])


async def test_too_many_tools_are_cut_and_reported(house: House, server: FakeServer) -> None:
    server.fault = "many=3000"
    await house.start(remote(server))
    assert len(house.status()["tools"]) == 500
    assert house.status()["left_out"] == 2500


async def test_another_address_is_switched_to_without_a_gap(house: House, server: FakeServer) -> None:
    await house.start(remote(server))
    async with fake_server() as other:
        other.tools.append("new")
        running = asyncio.create_task(house.call("wait"))
        await eventually(lambda: server.calls == 1)
        house.configure(remote(other))
        assert (await house.echo("never waits")).text == "never waits"
        await eventually(lambda: "new" in house.status()["tools"])
        assert (await running).text == "ok"
        await house.echo("x")
        assert other.calls >= 1


async def test_a_failing_successor_leaves_the_old_tools_serving(house: House, server: FakeServer) -> None:
    await house.start(remote(server))
    house.configure(Config(type="streamablehttp", url="http://127.0.0.1:1/mcp"))
    await house.state("backoff")
    assert "echo" in house.status()["tools"]
    assert (await house.echo("old")).text == "old"
    async with fake_server() as other:
        house.configure(remote(other))
        await house.state("ready")
        assert (await house.echo("new")).text == "new"
        assert other.calls == 1
