"""The listening side: aiohttp's low-level server, our handler, our limits; sockets that can move to a new address."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from openai_proxy.addresses import short
from openai_proxy.errors import BadRequest
from openai_proxy.server.connection import ConnectionServer, RelayingConnection
from openai_proxy.server.fast_path import FastPath
from openai_proxy.server.open_connections import ConnectionLimits

BACKLOG = 1024
LINGER = 1.0  # seconds for which an unread body is read and dropped, so that the client gets to see its 401 or 413
MAX_LINE = 8190
UNSENT = 16 * 1024
"""Bytes of answers that the kernel buffers for a client that does not read: by default some megabytes, which would also
be kept for the records.
"""
READ_BUFFER = 512 * 1024  # bytes of a body that aiohttp buffers before it stops reading


def client_server(
    handler: Callable[[BaseRequest], Awaitable[StreamResponse]],
    header_seconds: Callable[[], float],
    make_fast: Callable[[RelayingConnection], FastPath] | None = None,
    limits: Callable[[], ConnectionLimits] | None = None,
) -> ConnectionServer:
    """A server of client connections: `handler` answers; `make_fast` puts a fast path in front of it."""
    return ConnectionServer(
        handler,
        header_seconds=header_seconds,
        make_fast=make_fast,
        limits=limits,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
        read_bufsize=READ_BUFFER,
        lingering_time=LINGER,
        tcp_keepalive=False,  # the listening socket has it already
    )


class ListenerServer(Protocol):
    """What serves the connections of a listener."""

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol object of a new connection."""
        ...

    @property
    def connections(self) -> Collection[Any]:
        """The open ones."""
        ...

    def has_silent(self) -> bool:
        """True if there is a connection without any request so far."""
        ...

    async def shutdown(self, seconds: float) -> None:
        """End the connections: idle ones now, busy ones within `seconds`."""
        ...


class Listener:
    """The open sockets and their server."""

    def __init__(self, server: ListenerServer) -> None:
        self.server = server
        self._open: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []

    async def open(self, host: str, port: int) -> None:
        """Listen on an address. Raises BadRequest, with a reason fit to be read aloud, if that fails."""
        await self._open_sockets(host, port, shared=False)

    async def move(self, host: str, port: int) -> None:
        """Listen on another address, then stop listening on the old ones; open connections stay. Raises as `open`
        does.
        """
        before, sockets = self._open, self._sockets
        self._open, self._sockets = [], []
        try:
            _share(sockets, True)  # 0.0.0.0 takes over from 127.0.0.1 on the same port without a gap
            await self._open_sockets(host, port, shared=True)
        except BadRequest:
            self._open, self._sockets = before, sockets
            raise
        finally:
            _share(sockets, False)
        for server in before:
            server.close()

    async def _open_sockets(self, host: str, port: int, *, shared: bool) -> None:
        loop = asyncio.get_running_loop()
        sockets: list[socket.socket] = []
        try:
            # A socket of our own, not the loop's, which would start four threads to resolve the address.
            for family, address in _addresses(host, port):
                sockets.append(_listening(family, address, shared))
        except OSError as error:
            for sock in sockets:
                sock.close()
            reason = {
                errno.EADDRINUSE: "the port is in use",
                errno.EACCES: "ports below 1024 require privileges",
                errno.EADDRNOTAVAIL: "this machine has no such address",
            }.get(error.errno or 0, error.strerror or "it is not an address of this machine")
            raise BadRequest(f"cannot listen on {host} port {port}: {reason}", code="cannot_listen") from None
        for sock in sockets:
            self._open.append(await loop.create_server(self.server, sock=sock, backlog=BACKLOG))
        self._sockets += sockets

    async def adopt(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on sockets opened by the service manager."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.setblocking(False)
            _set_inherited(sock)
            create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            self._open.append(await create(self.server, sock=sock, backlog=BACKLOG))
        self._sockets = list(sockets)

    async def open_unix(self, path: Path) -> None:
        """Listen on a Unix socket that only this user can access."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - a left-over socket, removed before anything is served
        previous = os.umask(0o177)
        try:
            server = await asyncio.get_running_loop().create_unix_server(self.server, short(path), backlog=16)
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

    @property
    def hosts(self) -> list[str]:
        """The addresses listened on; a dual-stack socket also counts for "0.0.0.0"."""
        found: list[str] = []
        for sock in self._sockets:
            if sock.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            host = str(sock.getsockname()[0])
            if host == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                found.append("0.0.0.0")  # noqa: S104 - printed, not bound
            found.append(host)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Accept no more connections. Open ones stay."""
        for server in self._open:
            server.close()
        self._open.clear()
        self._sockets.clear()

    async def shutdown(self, seconds: float) -> None:
        """End the connections: idle ones now, busy ones within `seconds`."""
        await self.server.shutdown(seconds)


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    # As bytes if possible: text would be treated as an international name, and the codec for those costs 1.4 MB.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, address) for family, _, _, _, address in found]


def _set_inherited(sock: socket.socket) -> None:
    """Options of a listening socket that its connections inherit: a limit of what the kernel buffers for a client, and
    the detection of clients that have vanished.
    """
    if sock.family == socket.AF_UNIX:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def _share(sockets: Sequence[socket.socket], on: bool) -> None:
    """Let another socket of ours listen on the same port meanwhile; sockets without the option are still refused."""
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(on))


def _listening(family: int, address: Any, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_inherited(sock)
        if shared:
            _share([sock], True)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(BACKLOG)
        if shared:
            _share([sock], False)
    except BaseException:
        sock.close()
        raise
    return sock
