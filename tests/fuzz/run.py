"""Both daemons, some clients, and the comparison."""

import asyncio
import random
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz import requests
from tests.fuzz.provider import Provider
from tests.harness.daemon import CANARY, COMPLAINTS, Daemon

WORKERS = 8
PATIENCE = 30.0  # seconds for one answer
WARM = 2000  # requests before memory is measured: caches fill first
GROWTH = 24  # MiB by which memory may grow after that, whatever the number of requests

_IDS = re.compile(
    rb"(?:req|chatcmpl|resp|msg|cmpl|call|gen)[_-][0-9A-Za-z]+|\"(?:created|completed)(?:_at)?\":\d+|\"loaded_at\":\"[^\"]*"
)
_VARYING = frozenset({"x-request-id", "date", "x-proxy-queued"})


@dataclass
class Report:
    """The result of a run."""

    requests: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    rss: dict[str, tuple[int, int]] = field(default_factory=dict)
    """MiB of each daemon after WARM requests and at the end."""

    @property
    def fine(self) -> bool:
        """True if nothing was found."""
        return not self.differences


Answer = tuple[int, tuple[tuple[str, str], ...], bytes, bool]
"""Status, fields, body, and whether it was complete."""


async def run(count: int, seconds: float, seed: int, conf: dict[str, Any] | None = None) -> Report:
    """Send up to `count` requests, for at most `seconds`."""
    provider, report = Provider(), Report()
    await provider.start()
    daemons = {}
    with tempfile.TemporaryDirectory() as root:
        try:
            for side, flags in (("a", []), ("b", ["--no-splice"])):
                made = Daemon(Path(root) / side, {**_conf(provider.url(side)), **(conf or {})}, flags=flags)
                daemons[side] = await asyncio.to_thread(made.start)
            await _Run(provider, daemons, report, seed).all(count, seconds)
            for side, daemon in daemons.items():
                await asyncio.to_thread(_look, report, side, daemon)
        finally:
            for daemon in daemons.values():
                daemon.kill()
            await provider.stop()
    return report


def _conf(url: str) -> dict[str, Any]:
    connection = {"api_type": "openai", "api_base": url, "api_key": CANARY, "max_retries": 0}
    return {
        "connections": {"main": connection, "other": {**connection, "params": {"default": {"temperature": 0.5}}}},
        "default_connection": "main",
        "routing": {"short": "other.long", "other*": "other.*", "*": "main.*"},
        "limits": {"body_idle_seconds": 5},
    }


def _look(report: Report, side: str, daemon: Daemon) -> None:
    """What is wrong with a daemon afterwards."""
    try:
        daemon.stop()
    except AssertionError as error:
        report.differences.append(f"{side}: {str(error)[:500]}")
    if any(complaint in daemon.stderr for complaint in COMPLAINTS) or CANARY in daemon.stderr:
        report.differences.append(f"{side}: {daemon.stderr[-500:]}")
    before, after = report.rss.get(side, (0, 0))
    if before and after - before > GROWTH:
        report.differences.append(f"{side}: memory grew from {before} to {after} MiB")


class _Run:
    def __init__(self, provider: Provider, daemons: dict[str, Daemon], report: Report, seed: int) -> None:
        self._provider = provider
        self._daemons = daemons
        self._report = report
        self._seed = seed
        self._next = 0

    async def all(self, count: int, seconds: float) -> None:
        """Send them, and record the use of memory."""
        began = time.monotonic()
        await self._some(min(WARM, count), began + seconds)
        before = {side: daemon.rss() >> 20 for side, daemon in self._daemons.items()}
        await self._some(count, began + seconds)
        self._report.requests, self._report.seconds = self._next, time.monotonic() - began
        self._report.rss = {side: (before[side], daemon.rss() >> 20) for side, daemon in self._daemons.items()}

    async def _some(self, count: int, until: float) -> None:
        await asyncio.gather(*(self._worker(count, until) for _ in range(WORKERS)))

    async def _worker(self, count: int, until: float) -> None:
        clients = {side: _Client(daemon.address) for side, daemon in self._daemons.items()}
        try:
            while self._next < count and time.monotonic() < until and len(self._report.differences) < 20:
                number, self._next = self._next, self._next + 1
                request = requests.make(random.Random(self._seed * 1_000_003 + number))
                answers = await asyncio.gather(*(client.ask(request, number) for client in clients.values()))
                self._compare(number, request, *answers)
        finally:
            for client in clients.values():
                client.close()

    def _compare(self, number: int, request: requests.Request, first: Answer, second: Answer) -> None:
        report = self._report
        report.statuses[first[0]] = report.statuses.get(first[0], 0) + 1
        seen = [self._provider.seen.pop((side, str(number)), []) for side in self._daemons]
        wrong = []
        if first != second:
            wrong.append(f"answers differ:\n  {first}\n  {second}")
        if _comparable(seen[0]) != _comparable(seen[1]):
            wrong.append(f"the provider saw:\n  {seen[0]}\n  {seen[1]}")
        wrong += [f"never to be seen: {answer}" for answer in (first, second) if _leaks(answer)]
        if wrong:
            report.differences.append(f"request {number} (seed {self._seed}) {request}:\n" + "\n".join(wrong))


def _leaks(answer: Answer) -> bool:
    return b"internal_error" in answer[2] or CANARY.encode() in answer[2] or CANARY in str(answer[1])


def _comparable(seen: list[Any]) -> list[Any]:
    return [(path, sorted((name.lower(), value) for name, value in fields), body) for path, fields, body in seen]


class _Client:
    """One kept-alive connection, reopened if it was closed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: requests.Request, number: int) -> Answer:
        """The comparable part of the answer."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ask(request, number)
        except TimeoutError:
            self.close()
            return 0, (), b"no answer in time", False

    async def _ask(self, request: requests.Request, number: int) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 22)
        reader, writer = self._streams
        try:
            writer.write(request.head("localhost", number) + request.payload())
            await writer.drain()
            status, fields, close = await self._head(reader)
            body, whole = await _body(reader, fields, bodiless=request.method == "HEAD" or status in (204, 304))
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            return 0, (), b"closed", False
        if close or not whole:
            self.close()
        shown = tuple(sorted((n, v) for n, v in fields if n not in _VARYING and n != "content-length"))
        return status, shown, _IDS.sub(b"ID", body), whole

    @staticmethod
    async def _head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]], bool]:
        first, *rest = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
        closes = ("connection", "close") in fields or first.startswith("HTTP/1.0")
        return int(first.split(" ")[1]), fields, closes

    def close(self) -> None:
        """Close it; the next request opens a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _body(reader: asyncio.StreamReader, fields: list[tuple[str, str]], *, bodiless: bool) -> tuple[bytes, bool]:
    values = dict(fields)
    try:
        if bodiless:
            return b"", True
        if values.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline() or b"0", 16):
                body += (await reader.readexactly(size + 2))[:-2]
            return body, await reader.readline() == b"\r\n"
        if "content-length" in values:
            return await reader.readexactly(int(values["content-length"])), True
        return await reader.read(), True
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        return b"cut", False
