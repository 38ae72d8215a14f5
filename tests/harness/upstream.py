"""A provider on raw sockets. It plays scripts, can also violate HTTP, and records its requests.

It runs in a thread with its own event loop, so that plain blocking tests can talk to the daemon meanwhile. A script
(`Play`) is chosen by the `model` of a JSON body or by the header `x-play`; requests without a script are answered as a
small well-behaved OpenAI-compatible server would (`manners.py`).
"""

import asyncio
import hashlib
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

from tests.harness import manners
from tests.harness.plays import FIN, HOLD, RST, Ending, Gate, Step, head
from tests.harness.scripts import Acting, Play, Rounds, Seen
from tests.harness.waiting import PATIENCE, eventually

KEEP = 8 << 20  # bytes of a request body kept for comparison; larger bodies are kept only as size and digest


class Upstream:
    """The provider. `start` and `stop` it once, and add `play`s in between."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._plays: dict[str, Play] = {}
        self._numbers = itertools.count(1)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self.loop = asyncio.new_event_loop()
        self.peers: set[Peer] = set()
        self.unclaimed: list[Seen] = []
        self.accepted = 0
        self.port = 0

    @property
    def url(self) -> str:
        """The API's root."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def start(self) -> "Upstream":
        """Listen on a free port of 127.0.0.1."""
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the upstream's thread did not start"
        return self

    def stop(self) -> None:
        """Close everything and join the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the upstream's thread did not end"

    def play(self, *steps: Step, name: str = "play", early: bool = False) -> Play:
        """A new script. `early`: it starts after the request's head, before the body has arrived (`x-play` only)."""
        play = Play(f"{name}-{next(self._numbers)}", steps, early)
        self._plays[play.model] = play
        return play

    def rounds(self, *answers: Step | tuple[Step, ...], name: str = "rounds") -> Rounds:
        """A new script that answers each request with the next of `answers`."""
        steps = [answer if isinstance(answer, tuple) else (answer,) for answer in answers]
        play = Rounds(f"{name}-{next(self._numbers)}", steps)
        self._plays[play.model] = play
        return play

    def acting(self, answer: Callable[[Seen], bytes], name: str = "acting") -> Acting:
        """A new script that answers each request with the result of `answer`."""
        play = Acting(f"{name}-{next(self._numbers)}", answer)
        self._plays[play.model] = play
        return play

    def gate(self) -> Gate:
        """A gate for a script."""
        return Gate(self.loop)

    def find(self, name: str | None) -> Play | None:
        """The script called `name`."""
        return self._plays.get(name) if name else None

    def ask(self, work: Callable[[], Any]) -> Any:
        """The result of `work`, run in the upstream's thread."""
        done: list[Any] = []
        finished = threading.Event()

        def run() -> None:
            done.append(work())
            finished.set()

        self.loop.call_soon_threadsafe(run)
        assert finished.wait(PATIENCE), "the upstream's loop is stuck"
        return done[0]

    def busy(self) -> int:
        """How many requests are being answered at the moment."""
        return int(self.ask(lambda: sum(peer.playing for peer in self.peers)))

    def drop_idle(self) -> int:
        """Close every connection that is between requests, as a restarted server would; returns their number.

        Each one stays in `connections` until the other side has closed it as well.
        """

        def drop() -> int:
            idle = [peer for peer in self.peers if not peer.playing]
            for peer in idle:
                peer.drop()
            return len(idle)

        return int(self.ask(drop))

    def restart(self) -> None:
        """Drop every connection once none is busy, and wait until the daemon has closed them as well."""
        eventually(lambda: self.busy() == 0, "no request is being answered")
        self.drop_idle()
        eventually(lambda: self.connections() == 0, "the daemon has closed its connections, too")

    def connections(self) -> int:
        """How many connections are open."""
        return int(self.ask(lambda: len(self.peers)))

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: Peer(self), "127.0.0.1", 0, backlog=1024, ssl=self._tls)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            self.loop.run_forever()
        finally:
            server.close()
            for peer in list(self.peers):
                peer.transport.abort()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.close()


class PeerGone(Exception):
    """The other side closed."""


class Peer(asyncio.Protocol):
    """One connection from the daemon: reads requests, plays their scripts."""

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.playing = False
        self._buffer = bytearray()
        self._gone = False
        self._dropped = False
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._seen: Seen | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.upstream.peers.add(self)
        self.upstream.accepted += 1
        self.number = self.upstream.accepted
        self._task = self.upstream.loop.create_task(self._serve())

    def drop(self) -> None:
        """Close our side; anything that still arrives is answered by a reset, as by a server that has stopped."""
        self._dropped = True
        self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        if self._dropped:
            self.transport.abort()
            return
        if not self._buffer and data.startswith(b"\x16\x03") and self._seen is None:
            # A TLS handshake on a plain port: servers answer it with a plain 400 and close.
            self.transport.write(head("400 Bad Request", {"Connection": "close", "Content-Length": "0"}))
            self.transport.close()
            return
        self._buffer += data
        self._wake.set()

    def eof_received(self) -> bool:
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self.upstream.peers.discard(self)

    def _leave(self) -> None:
        self._gone = True
        self._wake.set()
        self._writable.set()
        if self._seen is not None:
            self._seen.hung_up.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def send(self, data: bytes) -> None:
        """Write, and wait until the peer accepts it."""
        self.transport.write(data)
        await asyncio.sleep(0)  # an endless script must let the loop notice that its reader has disconnected
        await self._writable.wait()
        if self._gone or self.transport.is_closing():
            raise PeerGone

    async def left(self) -> None:
        """Wait until the peer has disconnected."""
        while not self._gone:
            self._wake.clear()
            await self._wake.wait()

    async def take(self, size: int = 0, *, until: bytes = b"") -> bytes:
        """`size` bytes, or those up to and including `until`, or (with neither) whatever has arrived."""
        while True:
            if until:
                found = self._buffer.find(until)
                size = found + len(until) if found >= 0 else 0
            elif size == 0 and self._buffer:
                size = len(self._buffer)
            if size and len(self._buffer) >= size:
                data = bytes(self._buffer[:size])
                del self._buffer[:size]
                return data
            if self._gone:
                raise PeerGone
            self._wake.clear()
            await self._wake.wait()

    async def _serve(self) -> None:
        try:
            while await self._one():
                pass
        except PeerGone:
            self._leave()
        finally:
            self.playing = False
            self.transport.close()

    async def _one(self) -> bool:
        seen = Seen(self.number)
        lines = (await self.take(until=b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.playing, self._seen = True, seen
        seen.method, seen.target, seen.version = lines[0].split(" ", 2)
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            seen.headers.append((name, value.strip(" \t")))
        play = self.upstream.find(seen.header("x-play"))
        if play is not None:
            play.arrived(seen)
        if play is None or not play.early:
            await self._body(seen, play)
        if play is None:
            play = self.upstream.find(manners.requested_model(seen))
            if play is not None:
                play.arrived(seen)
            else:
                self.upstream.unclaimed.append(seen)
        steps = play.steps_for(seen) if play is not None else (manners.answer(seen),)
        going_on = await self._play(steps)
        seen.answered.set()
        self.playing = False
        return going_on

    async def _body(self, seen: Seen, play: Play | None) -> None:
        digest, kept = hashlib.sha256(), bytearray()

        def more(data: bytes) -> None:
            digest.update(data)
            if len(kept) < KEEP:
                kept.extend(data)
            seen.size += len(data)
            if play is not None:
                play.progress()

        if (seen.header("transfer-encoding") or "").lower() == "chunked":
            seen.chunked = True
            while size := int((await self.take(until=b"\r\n")).split(b";")[0], 16):
                more(await self.take(size))
                await self.take(2)
            while await self.take(until=b"\r\n") != b"\r\n":
                pass
        else:
            rest = int(seen.header("content-length") or 0)
            while rest:
                data = await self.take()
                if len(data) > rest:  # the beginning of a pipelined request
                    self._buffer[:0] = data[rest:]
                    data = data[:rest]
                more(data)
                rest -= len(data)
        seen.body, seen.digest = bytes(kept), digest.hexdigest()
        seen.whole.set()

    async def _play(self, steps: tuple[Step, ...]) -> bool:
        for step in steps:
            if isinstance(step, bytes):
                await self.send(step)
            elif isinstance(step, Gate):
                opened = self.upstream.loop.create_task(step.passed())
                gone = self.upstream.loop.create_task(self.left())
                await asyncio.wait({opened, gone}, return_when=asyncio.FIRST_COMPLETED)
                opened.cancel()
                gone.cancel()
                if self._gone:
                    raise PeerGone
            elif isinstance(step, Ending):
                await self._end(step)
                return False
            else:
                await step(self)
        return True

    async def _end(self, ending: Ending) -> None:
        if ending is HOLD:
            await self.left()
        elif ending is RST:
            raw: socket.socket = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            assert ending is FIN
            self.transport.close()
