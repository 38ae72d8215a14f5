"""Kept connections to one origin, and creating new ones."""

import asyncio
import socket
import ssl
from typing import Any, Final

import aiohappyeyeballs

from openai_proxy.errors import UpstreamError, UpstreamTimeout, UpstreamTLSError, UpstreamUnreachable
from openai_proxy.upstream.connection import ConnectionOwner, HttpConnection
from openai_proxy.upstream.dialler import Dialler
from openai_proxy.upstream.origin import Origin, tls_context
from openai_proxy.upstream.watch import Watch

MAX_IDLE: Final = 256
"""Maximum idle connections: more than a home server ever needs at once, and far below any fd limit."""

IDLE_PLAIN: Final = 4.0
"""Seconds an idle plain-text connection is reused without a Keep-Alive header: uvicorn and node close after 5."""

IDLE_TLS: Final = 55.0
"""The same for TLS, where a handshake costs 50-150 ms: CDNs in front of providers close after 60 or more."""

HAPPY_EYEBALLS_DELAY: Final = 0.25  # RFC 8305 §5


def _literal(host: str, port: int) -> list[Any]:
    """getaddrinfo's result for an address that needs no resolving, without the threads that the loop starts for it."""
    if not host.isascii():
        return []
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        # As bytes: text would go through the codec for international names, whose import alone takes 1.4 MB.
        return list(socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=flags))
    except OSError:
        return []


def _in_bytes(info: Any) -> Any:
    """A getaddrinfo result whose numeric address is bytes: `connect` sends text through that codec, too."""
    family, kind, protocol, name, (host, *rest) = info
    return family, kind, protocol, name, (host.encode() if isinstance(host, str) else host, *rest)


class Pool(ConnectionOwner):
    """Connections to one origin. Lives as long as the process: edits that keep the origin keep it warm."""

    def __init__(self, name: str, origin: Origin, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name, watch)
        self.origin = origin
        self._loop = loop
        self._dialler: Any = Dialler(loop)  # used by aiohappyeyeballs as an event loop
        self._idle: list[HttpConnection] = []
        self._all: set[HttpConnection] = set()
        self._idle_for = IDLE_TLS if origin.tls else IDLE_PLAIN
        self._closed = False

    def take(self) -> HttpConnection | None:
        """An idle connection that should still be open, the most recently used first; None if there is none."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            transport = connection.transport
            if transport is not None and not transport.is_closing():
                if self._loop.time() < connection.fresh_until:
                    return connection
                connection.abort()
        return None

    def _keep_for(self, connection: HttpConnection) -> float:
        if connection.keep_alive_for is not None:
            return max(connection.keep_alive_for - 1.0, 0.0)
        return self._idle_for

    async def connect(self, timeout: float | None) -> HttpConnection:
        """A new connection. `timeout` (seconds) covers DNS, TCP and TLS together.

        Raises UpstreamUnreachable, UpstreamTLSError or UpstreamTimeout (code `upstream_connect_timeout`).
        """
        who = f"The connection '{self.name}'"
        try:
            async with asyncio.timeout(timeout):
                return await self._connect()
        except TimeoutError as error:
            if error.errno is None:  # ours; the kernel's own has a number
                cause = f"no connection to {self.origin.host}:{self.origin.port} within {timeout:g} s (timeout.connect)"
                raise UpstreamTimeout(
                    f"{who} could not be reached in time.", code="upstream_connect_timeout", cause=cause
                ) from None
            raise UpstreamUnreachable(f"{who} cannot be reached.", cause=self._cause(error)) from None
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise UpstreamTLSError(
                f"{who} has no valid TLS certificate, or does not speak TLS.", cause=self._cause(error)
            ) from None
        except ConnectionResetError as error:
            # Many plain-text servers answer a ClientHello with a reset.
            kind: type[UpstreamError] = UpstreamTLSError if self.origin.tls else UpstreamUnreachable
            raise kind(f"{who} refused the connection.", cause=self._cause(error)) from None
        except (OSError, UnicodeError) as error:
            raise UpstreamUnreachable(f"{who} cannot be reached.", cause=self._cause(error)) from None

    def _cause(self, error: Exception) -> str:
        from openai_proxy.upstream import causes  # only needed for errors

        origin, proxy = self.origin, self.origin.proxy
        inside = isinstance(error, ssl.SSLError) and not origin.relayed
        if proxy is None or inside:
            return causes.of_connecting(error, origin.host, origin.port, ca_file=origin.ca_file is not None)
        return causes.of_proxy(error, proxy.host, proxy.port)

    async def _connect(self) -> HttpConnection:
        loop = self._loop
        origin, proxy = self.origin, self.origin.proxy
        if proxy is not None and not origin.relayed:
            from openai_proxy.upstream.tunnel import through

            sock = await self._dial(proxy.host, proxy.port)
            connection = HttpConnection(loop, self)
            await through(loop, sock, connection, proxy, origin)
        else:
            nearest = origin if proxy is None else proxy
            sock = await self._dial(nearest.host, nearest.port)
            try:
                # Implements asyncio.Protocol without inheriting: subclasses of an interpreted class cannot be compiled.
                _, connection = await loop.create_connection(  # type: ignore[type-var]
                    lambda: HttpConnection(loop, self),
                    sock=sock,
                    ssl=tls_context(origin.ca_file) if nearest.tls else None,
                    server_hostname=nearest.host if nearest.tls else None,
                )
            except BaseException:
                sock.close()
                raise
        self._all.add(connection)
        return connection

    async def _dial(self, host: str, port: int) -> socket.socket:
        """A connected socket."""
        name = host.encode() if host.isascii() else host
        infos = _literal(host, port) or await self._loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            [_in_bytes(info) for info in infos],
            happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY,
            interleave=1,
            loop=self._dialler,
        )
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except BaseException:
            sock.close()
            raise
        return sock

    def give_back(self, connection: HttpConnection) -> None:
        """Owner: keep an idle connection for the next exchange."""
        if self._closed or len(self._idle) >= MAX_IDLE:
            if connection.transport is not None:
                connection.transport.close()
            return
        connection.fresh_until = self._loop.time() + self._keep_for(connection)
        self._idle.append(connection)

    def forget(self, connection: HttpConnection) -> None:
        """Owner: the connection is gone."""
        self._all.discard(connection)
        if connection.sink is None and connection in self._idle:
            self._idle.remove(connection)

    def sweep(self) -> None:
        """Close expired idle connections; called periodically."""
        now = self._loop.time()
        for connection in [c for c in self._idle if now >= c.fresh_until]:
            self._idle.remove(connection)
            connection.abort()

    def retire(self) -> None:
        """Accept no new exchanges; running ones may end. Idle connections close now."""
        self._closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def close(self) -> None:
        """Close everything at once."""
        self.retire()
        for connection in tuple(self._all):
            connection.abort()
