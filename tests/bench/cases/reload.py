"""Reloads under load: busy keep-alive connections and running streams, while the configuration changes.

Compared to nginx, with as many `nginx -s reload` (a HUP to its master). Only failures count: requests without an
answer, broken connections, truncated streams. The daemon gets no notice of the edits: a file is saved, in a
configuration with 200 models and 20 MCP servers, and the time until the new configuration is in service is measured.
"""

import asyncio
import http.client
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.bench.lab import ROOT, Lab
from tests.bench.load import Crowd, quantile, raw_loop
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "reload"
HELP = "100 reloads (--long: 10,000) under 32 busy keep-alive connections and 200 streams: failures, save to live"
STREAMS, RATE = 200, 5
MODELS, SERVERS = 200, 20
EVERY = 0.3  # seconds between two reloads: a file must be stable for 0.15 before it is read
PATIENCE = 10.0
FAULT = ROOT / "tests" / "mcp" / "fault_server.py"  # without a fault mode: a small MCP server without dependencies


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    reloads = 20 if lab.quick else 10_000 if lab.long else 100
    found: dict[str, dict[str, float]] = {}
    for subject in subjects:
        if subject.name in ("nginx", "ours", "interpreted", "reference", "before"):
            subject.start()
            # The load never pauses: without a core of its own, a subject's wait for one would be measured.
            with lab.placed(subject.usage, 0, 1):
                found[subject.name] = await under_load(subject, reloads)
            subject.stop()

    def each(what: str) -> dict[str, float]:
        return {name: figures[what] for name, figures in found.items() if what in figures}

    zero = (Goal("<=", 0),)
    return [
        Row(f"{reloads:,} reloads: failed requests", "", each("failed"), zero),
        Row(f"{reloads:,} reloads: broken streams of {STREAMS}", "", each("broken"), zero),
        Row(f"{reloads:,} reloads: requests meanwhile", "", each("served")),
        Row(f"{reloads:,} reloads: never live", "", each("unseen"), zero),
        Row(f"{reloads:,} reloads: MCP servers with another pid", "", each("restarted"), zero),
        Row("save to live p50", "ms", each("p50")),
        Row("save to live p99", "ms", each("p99"), (Goal("<=", 400),)),
        Row(f"growth over {reloads:,} reloads", "KiB", each("growth"), (Goal("<=", 4096),) if lab.long else ()),
        Row("descriptors left over", "", each("fds"), (Goal("<=", 8),)),
    ]


async def under_load(subject: Subject, reloads: int) -> dict[str, float]:
    """Reload repeatedly while requests and streams run; returns the failures, and how long each reload took."""
    configuration = LiveConfiguration(subject) if hasattr(subject, "root") else None
    if configuration is not None:
        await asyncio.to_thread(configuration.furnish)
    seconds = reloads * EVERY + 2
    crowd = Crowd(subject.port, subject.headers)
    await crowd.open(STREAMS, RATE, int(RATE * (seconds + 2)), over=0.5)
    load = asyncio.ensure_future(raw_loop(subject.port, subject.headers, 32, seconds=seconds + 2))
    await asyncio.sleep(1)
    before = (0.0, 0)
    live: list[float] = []
    for number in range(reloads):
        began = time.monotonic()
        if number == reloads // 5:  # the first reload has already imported its modules
            before = own_rss(subject), subject.usage.fds()
        if configuration is not None:
            live.append(await asyncio.to_thread(configuration.edit, number))
        else:
            assert subject.process is not None
            subject.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))
    await asyncio.sleep(1)
    figures: dict[str, float] = {}
    if configuration is not None:
        live.sort()
        figures = {
            "p50": quantile(live, 0.5) * 1e3,
            "p99": quantile(live, 0.99) * 1e3,
            "unseen": float(sum(value >= PATIENCE for value in live)),
            "restarted": float(await asyncio.to_thread(configuration.restarted)),
            "growth": (own_rss(subject) - before[0]) / 1024,
            "fds": float(subject.usage.fds() - before[1]),
        }
    rate = await load
    await crowd.wait(60)
    subject.answered += rate.requests - rate.failed + sum(stream.done for stream in crowd.streams)
    figures |= {"failed": float(rate.failed), "broken": float(crowd.failures()), "served": float(rate.requests)}
    crowd.leave()
    return figures


def own_rss(subject: Subject) -> float:
    """Resident bytes of the daemon itself, without its MCP servers."""
    pages = int(Path(f"/proc/{subject.usage.pid}/statm").read_text().split()[1])
    return float(pages * resource.getpagesize())


class LiveConfiguration:
    """The configuration of one running subject of ours, as its owner edits it."""

    def __init__(self, subject: Subject) -> None:
        root: Path = subject.root  # type: ignore[attr-defined]  # ours have one
        self.conf = root / "conf"
        self.port = subject.port
        self.headers = subject.headers
        self.pids: dict[str, Any] = {}

    def furnish(self) -> None:
        """200 models and 20 MCP servers, and wait until all of them run."""
        (self.conf / "models").mkdir()
        (self.conf / "mcp").mkdir()
        for number in range(MODELS):
            self.write(number, "before")
        one = f"{{type: stdio, command: {sys.executable}, args: [{FAULT}]}}"
        text = "servers:\n" + "".join(f"  s{number}: {one}\n" for number in range(SERVERS))
        (self.conf / "mcp" / "servers.yaml").write_text(text)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            servers = self.ask("/admin/status")["mcp_servers"]
            if len(servers) == SERVERS and all(server["state"] == "ready" for server in servers):
                self.pids = {server["name"]: server["pid"] for server in servers}
                return
            time.sleep(0.1)
        raise RuntimeError("the MCP servers did not become ready")

    def write(self, number: int, owner: str) -> None:
        """One model file."""
        text = (
            f"name: house/m{number}\nowned_by: {owner}\nupstream_model: bench\n"
            f"system_prompt: |\n  You control house {number}. It is {{{{get_current_time()}}}}.\n"
            f"tools: [calculator]\nmcp_servers: {{s{number % SERVERS}: {{whitelist: ['*e*']}}}}\n"
        )
        (self.conf / "models" / f"m{number}.yaml").write_text(text)

    def edit(self, number: int) -> float:
        """Save one file, sometimes proxy.yaml itself; seconds until a new configuration is in service."""
        generation = self.generation()
        if number % 10 == 9:
            path = self.conf / "proxy.yaml"
            text = path.read_text().partition("# edit ")[0]
            path.write_text(f"{text}# edit {number}\nsession_ttl: {3600 + number % 1000}\n")
        else:
            self.write(number % MODELS, f"edit{number % 1000}")
        saved = time.monotonic()
        while self.generation() == generation:
            if time.monotonic() > saved + PATIENCE:
                return PATIENCE
            time.sleep(0.002)
        return time.monotonic() - saved

    def restarted(self) -> int:
        """How many servers have another process than at first."""
        now = {server["name"]: server["pid"] for server in self.ask("/admin/status")["mcp_servers"]}
        return sum(now.get(name) != pid for name, pid in self.pids.items())

    def generation(self) -> int:
        return int(self.ask("/health")["config"]["generation"])

    def ask(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=self.headers)
            return orjson.loads(connection.getresponse().read())
        finally:
            connection.close()
