"""Servers over HTTP+SSE."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from .conftest import Config, Supervised, eventually


class SseServer:
    """The 2024 transport: one stream, one POST for each message; `fault` is what the next POST gets."""

    def __init__(self) -> None:
        self.fault = ""
        self.endpoint = "/message?id=1"
        self.port = 0
        self.streams: list[web.StreamResponse] = []

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/sse", self._stream)
        app.router.add_post("/message", self._post)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr,attr-defined]

    async def stop(self) -> None:
        for stream in self.streams:
            if stream._req is not None and stream._req.transport is not None:
                stream._req.transport.close()
        await self._runner.cleanup()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.fault == "status-401":
            return web.Response(status=401)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        self.streams.append(response)
        await response.write(f"event: endpoint\ndata: {self.endpoint}\n\n".encode())
        await asyncio.sleep(3600)
        return response

    async def _post(self, request: web.Request) -> web.Response:
        message = await request.json()
        if message.get("method") == "server/discover":  # as SDKs of 2025 do (Home Assistant 2025.4: mcp 1.5)
            await self.streams[-1].write_eof()
            return web.Response(status=202, text="Accepted")
        if self.fault.startswith("status-") and message.get("method") == "tools/call":
            return web.Response(status=int(self.fault[7:]))
        if "id" in message:
            data = json.dumps({"jsonrpc": "2.0", "id": message["id"], **self._answer(message)})
            await self.streams[-1].write(f"event: message\r\ndata: {data}\r\n\r\n".encode())
        return web.Response(status=202, text="Accepted")

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message["method"]:
            case "initialize":
                info = {"name": "sse", "version": "1"}
                return {"result": {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": info}}
            case "tools/list":
                return {"result": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}}
            case "tools/call":
                text = (
                    "x" * int(self.fault[5:])
                    if self.fault.startswith("size=")
                    else message["params"]["arguments"]["text"]
                )
                return {"result": {"content": [{"type": "text", "text": text}]}}
            case _:
                return {"error": {"code": -32601, "message": "Method not found"}}


@pytest.fixture
async def server() -> AsyncIterator[SseServer]:
    running = SseServer()
    await running.start()
    yield running
    await running.stop()


def remote(server: SseServer) -> Config:
    return Config(type="sse", url=f"http://127.0.0.1:{server.port}/sse", timeout=20)


async def test_a_server_is_listed_and_called(supervised: Supervised, server: SseServer) -> None:
    await supervised.start(remote(server))
    assert (await supervised.echo("grüß")).text == "grüß"
    assert supervised.status()["protocol"] == "2024-11-05"


async def test_a_refused_post_fails_its_call_at_once_and_no_other(supervised: Supervised, server: SseServer) -> None:
    await supervised.start(remote(server))
    server.fault = "status-500"
    result = await supervised.echo("x")
    assert result.is_error
    assert "500" in result.text
    server.fault = ""
    assert (await supervised.echo("hi")).text == "hi"
    assert supervised.status()["restarts"] == 0


@pytest.mark.parametrize(("size", "failed"), [(3 << 20, False), (17 << 20, True)])
async def test_large_events_are_reduced_and_huge_ones_fail_their_call(
    supervised: Supervised, server: SseServer, size: int, failed: bool
) -> None:
    await supervised.start(remote(server))
    server.fault = f"size={size}"
    result = await supervised.echo("x")
    assert result.is_error == failed
    server.fault = ""
    assert (await supervised.echo("hi")).text == "hi"


async def test_a_broken_stream_is_reopened(supervised: Supervised, server: SseServer) -> None:
    await supervised.start(remote(server))
    await server.stop()
    await supervised.state("backoff")
    await server.start()
    await supervised.state("ready")
    assert (await supervised.echo("hi")).text == "hi"


async def test_an_endpoint_on_another_host_is_refused(supervised: Supervised, server: SseServer) -> None:
    server.endpoint = "http://127.0.0.2:1/message"
    supervised.configure(remote(server))
    await eventually(lambda: "another host" in (supervised.status()["last_error"] or ""))


async def test_refused_credentials_say_what_to_do(supervised: Supervised, server: SseServer) -> None:
    server.fault = "status-401"
    supervised.configure(remote(server))
    assert "headers" in (await supervised.state("needs-auth"))["last_error"]
