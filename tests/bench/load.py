"""Creates the load and measures it: wrk (or a raw client without it), and streams with timestamped chunks."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import orjson

PATH = "/v1/chat/completions"
SYSTEM = "You control the house. Answer in one short sentence. " * 12
"""About 600 bytes, like a small home's instructions."""

WRK_DONE = """
function done(s, latency, requests)
  local e = s.errors
  io.write(string.format('RESULT {"requests":%d,"us":%d,"p50":%.1f,"p99":%.1f,"failed":%d}\\n', s.requests, s.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def body(model: str = "bench", tokens: int | None = None, user: str = "bench-conversation") -> bytes:
    """A chat request as Home Assistant sends it: instructions, a question, and its conversation as `user`."""
    request: dict[str, object] = {
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Is the kitchen light on?"}],
        "user": user,
    }
    if tokens is not None:
        request |= {"stream": True, "max_tokens": tokens}
    return orjson.dumps(request)


def request_bytes(port: int, headers: Mapping[str, str], payload: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nUser-Agent: bench\r\n{lines}Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted `values` lie; NaN if there is none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


@dataclass(frozen=True, slots=True)
class Rate:
    """A closed loop of requests: how many a second, their latency in seconds, and how many failed."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failed: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


async def closed_loop(port: int, headers: Mapping[str, str], connections: int, seconds: float) -> Rate:
    """`connections` clients that send the next request as soon as they are answered."""
    if shutil.which("wrk"):
        return await asyncio.to_thread(_wrk, port, headers, connections, seconds)
    return await raw_loop(port, headers, connections, seconds=seconds)


def _wrk(port: int, headers: Mapping[str, str], connections: int, seconds: float) -> Rate:
    fields = {"Content-Type": "application/json", "User-Agent": "bench", **headers}
    script = f"wrk.method = 'POST'\nwrk.body = [==[{body().decode()}]==]\n"
    script += "".join(f"wrk.headers['{name}'] = '{value}'\n" for name, value in fields.items()) + WRK_DONE
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        url = f"http://127.0.0.1:{port}{PATH}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", file.name, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, env=dict(os.environ))
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk said nothing: {done.stdout[-500:]} {done.stderr[-500:]}")
    result = orjson.loads(found[1])
    return Rate(result["requests"], result["us"] / 1e6, result["p50"] / 1e6, result["p99"] / 1e6, result["failed"])


class _Asker(asyncio.Protocol):
    """One keep-alive connection of the raw client; `pace` is the number of seconds between two requests."""

    def __init__(self, port: int, request: bytes, latencies: list[float], budget: list[int], pace: float) -> None:
        self.port = port
        self.request, self.latencies, self.budget, self.pace = request, latencies, budget, pace
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed = 0
        self.waiting = False
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from asyncio's
        self.ask()

    def ask(self) -> None:
        if self.budget[0] <= 0:
            self.transport.close()
            return
        self.budget[0] -= 1
        self.waiting = True
        self.began = time.monotonic()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length:\s*(\d+)", data[:end], re.IGNORECASE) if end >= 0 else None
        complete = len(data) >= end + 4 + int(length[1]) if length else data.endswith(b"\r\n0\r\n\r\n")
        if end < 0 or not complete:
            self.buffer = data
            return
        self.buffer = b""
        self.waiting = False
        self.latencies.append(time.monotonic() - self.began)
        if not data.startswith(b"HTTP/1.1 200"):
            self.failed += 1
        wait = self.began + self.pace - time.monotonic() if self.pace else 0.0
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.ask)
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the request as failed, and continue over a new connection, as any client would."""
        self.failed += self.waiting
        self.waiting = False
        if self.budget[0] > 0 and self.port:
            self.reconnecting = asyncio.ensure_future(self.connect())
        elif not self.ended.done():
            self.ended.set_result(None)

    async def connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
        except OSError:
            self.failed += 1
            await asyncio.sleep(0.01)
            self.connection_lost(None)


async def raw_loop(
    port: int,
    headers: Mapping[str, str],
    connections: int,
    *,
    seconds: float = 3600,
    requests: int = 1 << 60,
    payload: bytes | None = None,
    pace: float = 0.0,
) -> Rate:
    """The same without wrk; also ends after exactly `requests` requests. `pace`: seconds between two requests."""
    latencies: list[float] = []
    budget = [requests]
    began = time.monotonic()
    text = request_bytes(port, headers, body() if payload is None else payload)
    askers = []
    for _ in range(connections):
        asker = _Asker(port, text, latencies, budget, pace)
        await asker.connect()
        askers.append(asker)
        await asyncio.sleep(pace / connections)  # so that paced ones do not all send at the same moment
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.wait([asker.ended for asker in askers])
    budget[0] = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            await asyncio.wait([asker.ended for asker in askers])
    elapsed = time.monotonic() - began
    failed = sum(asker.failed for asker in askers)
    for asker in askers:
        asker.port = 0
        asker.transport.abort()
    latencies.sort()
    return Rate(len(latencies), elapsed, quantile(latencies, 0.5), quantile(latencies, 0.99), failed)


class Stream(asyncio.Protocol):
    """One streamed answer; measures the latency of every chunk."""

    def __init__(self, request: bytes, transits: list[float]) -> None:
        self.request, self.transits = request, transits
        self.first: float | None = None  # seconds from the request to the first token
        self.latest = 0.0
        self.chunks = 0
        self.done = self.lost = False
        self.head = b""
        self.tail = b""
        self.status = 0
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from asyncio's
        self.began = time.monotonic()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.status:
            self.head += data[:16]
            if len(self.head) >= 12:
                self.status = int(self.head[9:12])
        if self.tail:
            data = self.tail + data
            self.tail = b""
        at = data.find(b'"@')
        while at >= 0:
            if len(data) < at + 22:  # the timestamp itself was cut in two
                self.tail = data[at:]
                return
            if (sent := data[at + 2 : at + 21]).isdigit():  # if not, the frame of a chunk is in the middle of it
                self.transits.append((now - int(sent)) / 1e9)
            self.chunks += 1
            at = data.find(b'"@', at + 22)
        self.latest = time.monotonic()
        if self.first is None and self.chunks:
            self.first = self.latest - self.began
            self.started.set_result(None)
        if b"[DONE]" in data:
            self.done = True
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for future in (self.started, self.ended):
            if not future.done():
                future.set_result(None)

    @property
    def failed(self) -> bool:
        """True unless it ended with a whole answer."""
        return self.status != 200 or (self.lost and not self.done)


@dataclass(slots=True)
class Crowd:
    """Streams that run concurrently."""

    port: int
    headers: Mapping[str, str]
    streams: list[Stream] = field(default_factory=list)
    transits: list[float] = field(default_factory=list)

    async def open(
        self, count: int, rate: float, tokens: int, *, at_once: int = 100, over: float = 0.0, model: str | None = None
    ) -> None:
        """Open `count` more streams of `tokens` chunks at `rate` a second, at most `at_once` waiting for their first.

        `over` spreads them over that many seconds, so that their chunks do not all arrive at the same moments.
        """
        loop = asyncio.get_running_loop()
        gate = asyncio.Semaphore(at_once)
        base = len(self.streams)

        async def one(number: int) -> None:
            await asyncio.sleep(over * number / count)
            async with gate:
                payload = body(model or f"bench-{rate:g}", tokens, user=f"bench-{base + number}")
                text = request_bytes(self.port, self.headers, payload)
                stream = Stream(text, self.transits)
                self.streams.append(stream)
                try:
                    await loop.create_connection(lambda: stream, "127.0.0.1", self.port)
                except OSError:
                    stream.connection_lost(None)
                await asyncio.wait([stream.started], timeout=30)

        await asyncio.gather(*(one(number) for number in range(count)))

    async def wait(self, timeout: float) -> None:
        """Wait until every stream has ended, at most `timeout` seconds."""
        await asyncio.wait([stream.ended for stream in self.streams], timeout=timeout)

    def leave(self) -> None:
        """Disconnect from all that are still running."""
        for stream in self.streams:
            if not stream.lost:
                stream.transport.abort()

    def failures(self, *, silent_for: float | None = None) -> int:
        """Streams that broke, or (if given) that are running but were silent for `silent_for` seconds."""
        now = time.monotonic()
        quiet = silent_for is not None
        return sum(
            stream.failed or (quiet and not stream.done and now - stream.latest > (silent_for or 0))
            for stream in self.streams
        )


def wrk_is_there() -> bool:
    return shutil.which("wrk") is not None


def lines(folder: Path) -> dict[str, int]:
    """Chat log lines below `folder` by type."""
    counted = {"request": 0, "response": 0, "error": 0}
    for path in folder.rglob("*.jsonl"):
        with path.open("rb") as file:
            for line in file:
                for kind in counted:
                    if b'"type":"%b"' % kind.encode() in line[:400] or b'"type": "%b"' % kind.encode() in line[:400]:
                        counted[kind] += 1
                        break
    return counted
