"""Measures the required figures of MCP servers: `python -m tests.mcp.figures`. Not a test: it needs an idle machine."""

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from openai_proxy.tools.base import CallContext

from .conftest import FAULT_SERVER, Supervised, children, eventually, fault


class Stalls:
    """The longest time for which the loop was busy, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.monotonic() - began - 0.001)


@asynccontextmanager
async def stalls() -> AsyncIterator[Stalls]:
    """Watch the loop meanwhile."""
    measured = Stalls()
    task = asyncio.get_running_loop().create_task(measured.watch())
    try:
        yield measured
    finally:
        task.cancel()


@asynccontextmanager
async def supervised() -> AsyncIterator[Supervised]:
    """A supervisor."""
    built = Supervised()
    try:
        yield built
    finally:
        await built.supervisor.aclose()


def say(what: str, value: float, limit: float, unit: str = "s") -> None:
    """One line, with the verdict."""
    print(f"{what:<58} {value:8.3f} {unit:<3} (≤ {limit:g})  {'ok' if value <= limit else 'TOO MUCH'}", flush=True)


async def overhead() -> None:
    """Serial calls through a Tool against the same calls through the bare SDK."""
    from mcp import Client, StdioServerParameters

    async with supervised() as h:
        await h.start(fault())
        tool = h.tool("echo")
        ours = await _serial(lambda: tool.call({"text": "x"}, CallContext()))
    async with Client(StdioServerParameters(command=sys.executable, args=[str(FAULT_SERVER)]), cache=None) as client:
        await client.list_tools()
        bare = await _serial(lambda: client.call_tool("echo", {"text": "x"}))
    say(f"call overhead (ours {ours * 1e3:.2f} ms, bare SDK {bare * 1e3:.2f} ms)", (ours - bare) * 1e3, 1, "ms")


async def _serial(call: Any) -> float:
    for _ in range(50):
        await call()
    times = []
    for _ in range(500):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def killed() -> None:
    """kill -9 with five calls in flight."""
    errors, ready = [], []
    for _ in range(5):
        async with supervised() as h:
            await h.start(fault())
            tasks = [asyncio.ensure_future(h.call("sleep", {"seconds": 60})) for _ in range(5)]
            await asyncio.sleep(0.3)
            pid, began = h.status()["pid"], time.monotonic()
            os.killpg(pid, signal.SIGKILL)
            results = await asyncio.gather(*tasks)
            errors.append(time.monotonic() - began)
            assert all(result.is_error for result in results)
            await eventually(lambda: h.status()["state"] == "ready" and h.status()["pid"] not in (pid, None))  # noqa: B023
            ready.append(time.monotonic() - began)
    say("kill -9, five calls in flight: five errors within", max(errors), 0.1)
    say("kill -9: ready again after", max(ready), 0.5)


async def parallel() -> None:
    """Fifty concurrent calls of half a second."""
    async with supervised() as h:
        await h.start(fault())
        await h.echo("warm")
        began = time.monotonic()
        await asyncio.gather(*(h.call("sleep", {"seconds": 0.5}) for _ in range(50)))
        say("50 parallel half-second calls", time.monotonic() - began, 0.7)


async def twenty() -> None:
    """Start and stop twenty small servers; with the SDK loaded, and in a process without it."""
    async with supervised() as h:
        began = time.monotonic()
        await h.start(*(fault(name=f"s{number}") for number in range(20)))
        say("20 small servers ready", time.monotonic() - began, 3)
        began = time.monotonic()
        await h.supervisor.aclose()
        say("20 small servers gone", time.monotonic() - began, 1)
        assert not children()


async def loop_stalls() -> None:
    """How long other tasks wait while a server misbehaves."""
    async with supervised() as h:
        await h.start(fault())
        await h.echo("warm")
        for what, work in {
            "loop stall, 50 MB line": lambda: h.echo("huge", size=50),
            "loop stall, 15 MB line (parsed)": lambda: h.echo("huge", size=15),
            "loop stall, stderr flood (200,000 lines)": lambda: h.echo("stderr"),
            "loop stall, 20,000 notifications": lambda: h.echo("notifications"),
        }.items():
            async with stalls() as measured:
                began = time.monotonic()
                await work()
                took = time.monotonic() - began
            say(f"{what}, {took:.2f} s in all", measured.longest * 1e3, 50, "ms")
    async with supervised() as h:
        async with stalls() as measured:
            began = time.monotonic()
            await h.start(fault("many=5000"))
            took = time.monotonic() - began
        say(f"loop stall, 5,000 tools of 2 KB, {took:.2f} s in all", measured.longest * 1e3, 50, "ms")
        assert len(h.status()["tools"]) == 500
        print(f"    left out: {h.status()['left_out']}")


async def main() -> None:
    """All of them."""
    await twenty()
    await overhead()
    await killed()
    await parallel()
    await loop_stalls()
    print(json.dumps({"processes left": len(children())}))


if __name__ == "__main__":
    uvloop.run(main())
