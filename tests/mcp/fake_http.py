"""A small MCP server over HTTP that misbehaves on demand, and one that behaves like Home Assistant's `/api/mcp`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

LIVE_CONTEXT = json.dumps(
    {"success": True, "result": "Live Context:\n- names: Küche\n  state: 'on'\n"}, ensure_ascii=False
)


class FakeServer:
    """Stateful 2025-era Streamable HTTP; `fault` names what the next tools/call (or every request) gets instead."""

    def __init__(self, *, home_assistant: bool = False, events: bool = False) -> None:
        self.home_assistant = home_assistant
        self.events = events
        self.fault = ""
        self.token: str | None = None
        self.about: dict[str, Any] = {}  # wrong members of the answer to initialize
        self.refusal: tuple[int, str] | None = None  # status and text instead of that answer
        self.sessions: set[str] = set()
        self.seen: list[dict[str, Any]] = []
        self.calls = 0
        self.deleted = 0
        self.tools = ["echo", "wait", "homeassistant__GetLiveContext"]
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, on the previous port if there was one."""
        app = web.Application()
        app.router.add_route("*", "/mcp", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr,attr-defined]

    async def stop(self) -> None:
        """Stop listening and cut every connection; the sessions are forgotten."""
        self.sessions.clear()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The address of its endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        if request.method == "DELETE" and not self.home_assistant:
            self.deleted += 1
            return web.Response()
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        self.seen.append({**message, "_headers": dict(request.headers)})
        method = message.get("method")
        if "id" not in message:
            return web.Response(status=202)
        if method == "initialize":
            return self._initialize(message)
        if method == "server/discover":
            return self._json(message, error={"code": -32601, "message": "Method not found"})
        session = request.headers.get("mcp-session-id")
        if not self.home_assistant and session not in self.sessions:
            status = 400 if self.fault == "session-400" else 404
            return web.json_response(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "No valid session"}}, status=status
            )
        if method == "tools/list":
            return self._list(message)
        if method == "tools/call":
            return await self._call(request, message)
        return self._json(message, result={})

    def _initialize(self, message: dict[str, Any]) -> web.Response:
        headers = {}
        if not self.home_assistant:
            session = f"s{len(self.seen)}"
            self.sessions.add(session)
            headers["mcp-session-id"] = session
        result: dict[str, Any] = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {} if self.home_assistant else {"listChanged": False}},
            "serverInfo": {"name": "fake", "version": "1"},
        }
        if self.refusal is not None:
            status, words = self.refusal
            error = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": words}}
            return web.json_response(error, status=status)
        result |= self.about
        return self._json(message, result=result, headers=headers)

    def _list(self, message: dict[str, Any]) -> web.Response:
        if self.fault.startswith("many="):
            tools = [
                {"name": f"t{i:04}", "description": "x" * 2000, "inputSchema": {"type": "object"}}
                for i in range(int(self.fault[5:]))
            ]
        else:
            tools = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in self.tools]
        return self._json(message, result={"tools": tools})

    async def _call(self, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        self.calls += 1
        fault, transport = self.fault, request.transport
        match fault:
            case "status-401" | "status-403" | "status-429" | "status-503":
                return web.Response(status=int(fault[7:]))
            case "html":
                return web.Response(text="<h1>hello</h1>", content_type="text/html")
            case "bad-json":
                return web.Response(text='{"jsonrpc": "2.0", ', content_type="application/json")
            case "redirect":
                return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/elsewhere"})
            case "gzip":
                answer = self._json(message, result={"content": []})
                answer.enable_compression(web.ContentCoding.gzip)
                return answer
            case "fin" | "cut-body" | "cut-events":
                return await self._cut(request, fault)
            case "stall":
                await asyncio.sleep(3600)
            case "huge":
                return self._result(message, "x" * (17 << 20))
            case "large":
                return self._result(message, "x" * (5 << 20))
        assert transport is not None
        name = message["params"]["name"]
        if name == "wait":
            await asyncio.sleep(0.5)
        if name == "homeassistant__GetLiveContext":
            return self._result(message, LIVE_CONTEXT)
        text = (message["params"].get("arguments") or {}).get("text", "ok")
        if self.events:
            return await self._event_stream(request, message, text)
        return self._result(message, text)

    async def _cut(self, request: web.Request, fault: str) -> web.StreamResponse:
        response = web.StreamResponse()
        if fault != "fin":
            response.content_type = "application/json" if fault == "cut-body" else "text/event-stream"
            await response.prepare(request)
            await response.write(b'{"jsonrpc"' if fault == "cut-body" else b"event: message\ndata: {\n")
        assert request.transport is not None
        request.transport.close()
        return response

    async def _event_stream(self, request: web.Request, message: dict[str, Any], text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        result = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": text}]}}
        data = json.dumps(result).encode()
        if self.fault == "huge-event":
            data = data.replace(b"ok", b"x" * (17 << 20))
        if self.fault == "large-event":
            data = data.replace(b"ok", b"x" * (5 << 20))
        await response.write(b": hello\r\n\r\nevent: message\r\ndata: " + data + b"\r\n\r\n")
        return response

    def _result(self, message: dict[str, Any], text: str) -> web.Response:
        return self._json(message, result={"content": [{"type": "text", "text": text}]})

    def _json(self, message: dict[str, Any], headers: dict[str, str] | None = None, **body: Any) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], **body}, headers=headers)


@asynccontextmanager
async def fake_server(**options: Any) -> AsyncIterator[FakeServer]:
    """A listening server."""
    server = FakeServer(**options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
