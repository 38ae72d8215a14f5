"""Edits under load: no request fails, no stream breaks, no kept-alive connection is closed, no server is restarted."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, LAST, SSE_HEAD, chunk, delta
from tests.harness.upstream import Peer, Upstream
from tests.harness.waiting import PATIENCE, turning_until
from tests.reload.looking import model
from tests.reload.test_generations import ready, server

pytestmark = pytest.mark.slow

CONNECTIONS, STREAMS, RELOADS = 32, 60, 20


def request(daemon: Daemon, name: str, *, stream: bool = False) -> bytes:
    body = json.dumps({"model": name, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def ask_repeatedly(daemon: Daemon, name: str, stop: asyncio.Event, answered: list[int], number: int) -> None:
    """One kept-alive connection, one request after another; `answered` counts them. Raises if one was not answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    while not stop.is_set():
        writer.write(request(daemon, name))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        (length,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.split(b":")[1]))
        assert json.loads(body)["choices"][0]["message"]["content"]
        answered[number] += 1
    writer.close()


async def listen(daemon: Daemon, name: str, begun: "asyncio.Queue[str]") -> bytes:
    """Read one stream to its end, every byte of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=1 << 24)
    writer.write(request(daemon, name, stream=True))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    begun.put_nowait(name)
    body = await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    return body


async def test_reloads_under_load_fail_no_request(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    stop_streams = asyncio.Event()

    ticks: Counter[Peer] = Counter()

    async def drip(peer: Peer) -> None:
        while not stop_streams.is_set():
            await peer.send(chunk(delta("tick ")))
            ticks[peer] += 1
            await asyncio.sleep(0.05)

    def conf(number: int) -> dict[str, Any]:
        """Each edit changes connections, so that pools and routes are created and closed all the time."""
        return {
            "connections": {"main": connection(upstream.url), f"edit{number}": connection(upstream.url)},
            "default_connection": "main",
            "routing": {"moving*": f"edit{number}.*"},
        }

    daemon = make_daemon(conf(0), files={"models/m.yaml": model("m", "me") + "mcp_servers: [s]\n"}, start=False)
    daemon.write("mcp/servers.yaml", {"servers": {"s": server()}})
    daemon.start()
    pids = ready(daemon, "s")
    names = ["steady", "moving"]
    streams = [
        upstream.play(SSE_HEAD, drip, chunk(delta("end") + DONE), LAST, name=names[number % 2]).model
        for number in range(STREAMS)
    ]
    begun: asyncio.Queue[str] = asyncio.Queue()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        listening = [group.create_task(listen(daemon, name, begun)) for name in streams]
        for _ in streams:
            await asyncio.wait_for(begun.get(), PATIENCE)
        answered = [0] * CONNECTIONS
        for number in range(CONNECTIONS):
            group.create_task(ask_repeatedly(daemon, names[number % 2], stop, answered, number))
        generation = await asyncio.to_thread(daemon.generation)
        for number in range(1, RELOADS + 1):
            await asyncio.to_thread(daemon.write, "proxy.yaml", conf(number))
            await asyncio.to_thread(daemon.write, "models/m.yaml", model("m", f"edit{number}") + "mcp_servers: [s]\n")
            answer = await asyncio.to_thread(daemon.post, "/admin/reload", b"")
            assert answer.status == 200
            # On a busy machine the watcher may have been faster, even between the two files.
            before, generation = generation, answer.json()["generation"]
            assert generation > before
            so_far = answered.copy()
            await turning_until(
                lambda so_far=so_far: all(now > then for now, then in zip(answered, so_far, strict=True)),
                "every client got an answer under this configuration",
            )
        await turning_until(lambda: min(ticks.values()) > RELOADS, f"every stream sent more than {RELOADS} pieces")
        stop.set()
        await asyncio.to_thread(upstream.ask, stop_streams.set)
    assert min(answered) >= RELOADS
    for task in listening:
        body = task.result()
        assert body.count(b"tick ") > RELOADS
        assert body.endswith(chunk(delta("end") + DONE) + LAST)
    assert ready(daemon, "s") == pids
