"""An HTTP proxy as in a company network: CONNECT for TLS, absolute-form requests for the rest."""

import asyncio
import base64
import contextlib
import ssl
import threading
from urllib.parse import urlsplit

from tests.harness.waiting import PATIENCE


class ForwardProxy:
    """Runs in its own thread. `seen` are the request lines; with `password` it requires `user:password`.

    `refuse` answers every CONNECT with that status instead.
    """

    def __init__(self, *, password: str = "", refuse: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[str] = []
        self.authorizations: list[str] = []
        self._password = password
        self._refuse = refuse
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> "ForwardProxy":
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        self.port = started.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def url(self) -> str:
        """Its address, as configured in clients."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def _start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.seen.append(head[0])
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        self.authorizations.append(fields.get("proxy-authorization", ""))
        wanted = "Basic " + base64.b64encode(f"user:{self._password}".encode()).decode()
        method, target, _ = head[0].split(" ")
        if self._password and fields.get("proxy-authorization") != wanted:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif method == "CONNECT" and self._refuse:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self._refuse)
        elif method == "CONNECT":
            host, _, port = target.rpartition(":")
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _both_ways(reader, writer, up_reader, up_writer)
            return
        else:
            url = urlsplit(target)
            up_reader, up_writer = await asyncio.open_connection(url.hostname, url.port)
            path = url.path + (f"?{url.query}" if url.query else "")
            rest = [line for line in head[1:] if not line.lower().startswith("proxy-")]
            up_writer.write("\r\n".join([f"{method} {path} HTTP/1.1", *rest]).encode("latin-1"))
            await _both_ways(reader, writer, up_reader, up_writer)
            return
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await reader.read()


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up_reader: asyncio.StreamReader,
    up_writer: asyncio.StreamWriter,
) -> None:
    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()

    try:
        async with asyncio.TaskGroup() as group:
            ways = [group.create_task(copy(reader, up_writer)), group.create_task(copy(up_reader, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
    except* OSError:
        pass
    finally:
        up_writer.transport.abort()
