"""Two MCP servers, a custom tool, an augmented model, two groups, clients of both protocol versions."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually
from tests.harness.wire import Answer

FAULT_SERVER = Path(__file__).parent.parent / "mcp" / "fault_server.py"
MODERN_SERVER = Path(__file__).parent.parent / "mcp" / "modern_server.py"
MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}

OWN_TOOL = '''
from openai_proxy import tool


@tool
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number
'''


class GatewayDaemon:
    """The daemon, and requests to its `/mcp`."""

    def __init__(self, root: Path, conf: dict[str, Any] | None = None) -> None:
        proxy = {"connections": {"echo": {"api_type": "echo"}}, **(conf or {})}
        self.daemon = Daemon(root, proxy)
        self.daemon.write("tools/own.py", OWN_TOOL)
        model = {"name": "augmented/small", "upstream_model": "echo", "description": "The small one.",
                 "mcp_servers": {"old": {"whitelist": ["echo"]}}, "tools": ["double"]}  # fmt: skip
        self.daemon.write("models/small.yaml", json.dumps(model))
        self.servers = {
            "old": {"command": sys.executable, "args": [str(FAULT_SERVER)], "blacklist": ["die"]},
            "new": {"command": sys.executable, "args": [str(MODERN_SERVER), "stdio"]},
        }
        self.configure()

    def configure(self, **more: Any) -> None:
        """servers.yaml."""
        self.daemon.write("mcp/servers.yaml", json.dumps({"servers": {**self.servers, **more}}))

    def start(self) -> "GatewayDaemon":
        self.daemon.start()
        return self

    @contextmanager
    def serving(self) -> Iterator["GatewayDaemon"]:
        """Started, and stopped at the end."""
        with self.daemon.serving(leaks=False):
            yield self

    def url(self, model: str = "") -> str:
        """Of the endpoint."""
        return f"http://127.0.0.1:{self.daemon.port}/mcp" + (f"/{model}" if model else "")

    def post(
        self, method: str, params: dict[str, Any] | None = None, *, modern: bool = False, path: str = "/mcp",
        headers: dict[str, str] | None = None, request_id: int | str | None = 1,
    ) -> Answer:  # fmt: skip
        """Send one message, as a client of either protocol version does."""
        body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": dict(params or {})}
        if request_id is not None:
            body["id"] = request_id
        sent = {"accept": "application/json, text/event-stream"}
        if modern:
            body["params"]["_meta"] = {**META, **body["params"].get("_meta", {})}
            sent |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            if method == "tools/call":
                sent["mcp-name"] = str(body["params"].get("name"))
        else:
            sent["mcp-protocol-version"] = LEGACY
        sent |= headers or {}
        return self.daemon.post(path, json.dumps(body).encode(), headers=list(sent.items()))

    def names(self, **options: Any) -> list[str]:
        """The tools that are offered."""
        return [tool["name"] for tool in self.post("tools/list", **options).json()["result"]["tools"]]

    def until_ready(self) -> None:
        """Wait until both servers have listed their tools."""

        def ready() -> bool:
            status = self.daemon.get("/admin/status").json()["mcp_servers"]
            return all(server["state"] == "ready" for server in status)

        eventually(ready, "the servers are ready")

    @asynccontextmanager
    async def client(self, model: str = "", *, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
        """The SDK's client."""
        async with Client(streamable_http_client(self.url(model)), mode=mode, cache=None, **options) as client:
            yield client


@pytest.fixture(scope="module")
def gateway_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayDaemon]:
    """Shared by tests that do not change it: its servers take seconds to start."""
    with GatewayDaemon(tmp_path_factory.mktemp("gateway_daemon")).serving() as found:
        yield found


@pytest.fixture
def own_gateway_daemon(tmp_path: Path) -> Iterator[GatewayDaemon]:
    """For tests that change it, or count its actions."""
    with GatewayDaemon(tmp_path).serving() as found:
        yield found
