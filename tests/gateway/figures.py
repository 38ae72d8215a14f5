"""The cost of `/mcp`: `python -m tests.gateway.figures` prints milliseconds per call and KiB per client.

Calls are timed to a tool of our own, which costs nothing itself, and to the same MCP server with and without the daemon
in between; a client is one held stream, of either protocol version.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tests.gateway.conftest import MODERN_SERVER, GatewayDaemon
from tests.harness.daemon import Daemon

STREAM = [("Accept", "text/event-stream"), ("MCP-Protocol-Version", "2025-06-18")]
CALLS = 1000
CLIENTS = 200


def own_tool(gateway_daemon: GatewayDaemon, modern: bool) -> float:
    """Median milliseconds of a call to a tool of our own, over one kept connection."""
    body: dict[str, object] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    params: dict[str, object] = {"name": "double", "arguments": {"number": 2}}
    headers = [("Accept", "application/json, text/event-stream")]
    if modern:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        headers += [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "double")]
    data = json.dumps({**body, "params": params}).encode()
    times = []
    with gateway_daemon.daemon.wire() as wire:
        for _ in range(CALLS):
            began = time.perf_counter()
            wire.request("POST", "/mcp", body=data, headers=headers)
            assert wire.answer().status == 200
            times.append(time.perf_counter() - began)
    return statistics.median(times[CALLS // 5 :]) * 1000


def ping(daemon: Daemon) -> float:
    """Median milliseconds of the smallest possible request, for comparison."""
    times = []
    with daemon.wire() as wire:
        for _ in range(CALLS):
            began = time.perf_counter()
            assert wire.request("GET", "/health").answer(method="GET").status == 200
            times.append(time.perf_counter() - began)
    return statistics.median(times[CALLS // 5 :]) * 1000


async def through(client: Client, name: str) -> float:
    """Median milliseconds of a call with the SDK's client."""
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await client.call_tool(name, {"text": "a"})
        times.append(time.perf_counter() - began)
    return statistics.median(times[CALLS // 5 :]) * 1000


def held(gateway_daemon: GatewayDaemon, modern: bool) -> float:
    """KiB by which the daemon grows per held stream."""
    process = psutil.Process(gateway_daemon.daemon.process.pid)
    wires = []

    def listen(request_id: int) -> None:
        wire = gateway_daemon.daemon.wire()
        wires.append(wire)
        if modern:
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            body = {"jsonrpc": "2.0", "id": request_id, "method": "subscriptions/listen",
                    "params": {"notifications": {"toolsListChanged": True}, "_meta": meta}}  # fmt: skip
            headers = [("Accept", "text/event-stream"), ("MCP-Protocol-Version", "2026-07-28"),
                       ("Mcp-Method", "subscriptions/listen")]  # fmt: skip
            wire.request("POST", "/mcp", body=json.dumps(body).encode(), headers=headers)
        else:
            wire.request("GET", "/mcp", headers=STREAM, content_type=None)
        wire.read_head()
        wire.read_some()

    for number in range(20):
        listen(number)
    before = process.memory_info().rss
    for number in range(CLIENTS):
        listen(number)
    grown = process.memory_info().rss - before
    for wire in wires:
        wire.close()
    return grown / CLIENTS / 1024


async def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        gateway_daemon = GatewayDaemon(Path(folder)).start()
        gateway_daemon.until_ready()
        print(f"the smallest request: {ping(gateway_daemon.daemon):.2f} ms")
        for modern in (False, True):
            era = "stateless" if modern else "handshake"
            spent, kept = own_tool(gateway_daemon, modern), held(gateway_daemon, modern)
            print(f"{era}: own tool {spent:.2f} ms, held stream {kept:.1f} KiB")
        async with Client(StdioServerParameters(command=sys.executable, args=[str(MODERN_SERVER), "stdio"])) as direct:
            alone = await through(direct, "echo")
        async with gateway_daemon.client() as client:
            both = await through(client, "mcp_new_echo")
            own = await through_own(client)
        print(f"SDK client, stdio server alone: {alone:.2f} ms; through /mcp: {both:.2f} ms; own tool {own:.2f} ms")
        gateway_daemon.daemon.stop()


async def through_own(client: Client) -> float:
    """The same to a tool of our own: the SDK client's own cost of HTTP."""
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await client.call_tool("double", {"number": 1})
        times.append(time.perf_counter() - began)
    return statistics.median(times[CALLS // 5 :]) * 1000


if __name__ == "__main__":
    asyncio.run(main())
