"""The listening side: aiohttp's low-level server, our handler, our limits; sockets that can move to a new address."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from openai_proxy.api.door import Door, new_id
from openai_proxy.config.proxy import LimitsConfig
from openai_proxy.errors import BadRequest, InternalError, ProxyError
from openai_proxy.runtime.state import State

BACKLOG = 1024
LINGER = 1.0  # seconds an unread body is read and dropped, so that the client gets to see its 401 or 413
KEEP_ALIVE = 75.0
MAX_LINE = 8190


class Protocol(RequestHandler):
    """One client connection the ordinary way: aiohttp's own, with errors as the API writes them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # The first request's head has `header_seconds`; an idle kept connection may rest longer.
        self._keepalive_timeout = KEEP_ALIVE

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refused, or what escaped a handler: never an echo of the offending bytes."""
        self.keep_alive(False)
        if request.writer.output_size > 0:
            raise ConnectionError("too late for an error response")
        error: ProxyError = (
            BadRequest("The request is not valid HTTP.", code="invalid_http")
            if status < 500
            else InternalError("Something went wrong in the proxy.")
        )
        response = web.Response(
            status=error.status,
            body=error.body(),
            content_type="application/json",
            headers={"x-proxy-error": error.code, "x-request-id": new_id(), "Server": "openai-proxy"},
        )
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """aiohttp logs a traceback for every malformed request; a port scan would fill the journal."""
        self.log_debug(*args, **kwargs)


class Server(web.Server):
    """Makes a protocol per connection."""

    def __init__(self, state: State, limits: LimitsConfig, *, local: bool = False) -> None:
        self.state = state
        super().__init__(
            Door(state, local=local),
            handler_cancellation=True,
            keepalive_timeout=limits.header_seconds,
            access_log=None,
            auto_decompress=False,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            lingering_time=LINGER,
            tcp_keepalive=True,
        )

    def __call__(self) -> RequestHandler:
        return Protocol(self, loop=self._loop, **self._kwargs)


class Listener:
    """The open sockets and their server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open: list[asyncio.Server] = []

    async def open(self, host: str, port: int) -> None:
        """Listen on an address. Raises BadRequest with a speakable reason where that cannot be."""
        loop = asyncio.get_running_loop()
        try:
            self._open.append(await loop.create_server(self.server, host, port, backlog=BACKLOG, reuse_address=True))
        except OSError as error:
            reason = {
                errno.EADDRINUSE: "the port is in use",
                errno.EACCES: "ports below 1024 need a privilege",
                errno.EADDRNOTAVAIL: "this machine has no such address",
            }.get(error.errno or 0, error.strerror or "it is no address of this machine")
            raise BadRequest(f"cannot listen on {host} port {port}: {reason}", code="cannot_listen") from None

    async def adopt(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on sockets the service manager opened."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.setblocking(False)
            create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            self._open.append(await create(self.server, sock=sock, backlog=BACKLOG))

    async def open_unix(self, path: Path) -> None:
        """Listen on a Unix socket only this user can reach."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - a left-over socket, removed before anything is served
        previous = os.umask(0o177)
        try:
            server = await asyncio.get_running_loop().create_unix_server(self.server, str(path), backlog=16)
        finally:
            os.umask(previous)
        self._open.append(server)

    @property
    def port(self) -> int | None:
        """The port of the first listening socket (useful where 0 was asked for)."""
        for server in self._open:
            for sock in server.sockets:
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    return int(sock.getsockname()[1])
        return None

    def close(self) -> None:
        """Accept no more. Open connections go on."""
        for server in self._open:
            server.close()
        self._open.clear()

    async def shutdown(self, seconds: float) -> None:
        """End the connections: idle ones now, busy ones within `seconds`."""
        await self.server.shutdown(seconds)


def ready_line(host: str, port: int | None) -> str:
    """What a person wants to read at start."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - shown, not bound
    return f"serving on http://{shown}:{port}/v1"
