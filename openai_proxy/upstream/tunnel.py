"""Connects through an HTTP proxy to a provider with TLS: CONNECT, and then TLS inside (RFC 9110 section 9.3.6).

Imported only if a connection uses a proxy.
"""

import asyncio
import socket
import ssl
from typing import Any, Final

from openai_proxy.upstream.causes import TunnelRefused
from openai_proxy.upstream.origin import HttpProxy, Origin, tls_context

MAX_HEAD: Final = 64 * 1024  # bytes of the proxy's answer


class _TunnelAnswer(asyncio.Protocol):
    """The head of the proxy's answer to CONNECT."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.head: asyncio.Future[bytes] = loop.create_future()
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self.head.done():
            return
        if b"\r\n\r\n" in self._data:
            self.head.set_result(self._data.partition(b"\r\n\r\n")[0])
        elif len(self._data) > MAX_HEAD:
            self.head.set_exception(TunnelRefused("the proxy's answer is too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(TunnelRefused("the proxy closed the connection"))


async def through(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Any, proxy: HttpProxy, origin: Origin
) -> None:
    """Connect `protocol` to `origin`, over `sock`, which is connected to the proxy.

    Raises TunnelRefused if the proxy is to blame, ssl.SSLError if the origin is; `sock` is then closed.
    """
    try:
        transport, answer = await loop.create_connection(
            lambda: _TunnelAnswer(loop),
            sock=sock,
            ssl=tls_context(origin.ca_file) if proxy.tls else None,
            server_hostname=proxy.host if proxy.tls else None,
        )
    except ssl.SSLError as error:
        sock.close()
        raise TunnelRefused(f"TLS with the proxy {proxy.host}:{proxy.port} failed: {error.reason or error}") from None
    except BaseException:
        sock.close()
        raise
    try:
        transport.write(_question(proxy, origin))
        status = _status(await answer.head)
        if not 200 <= status < 300:
            raise TunnelRefused(_why(status, f"{proxy.host}:{proxy.port}", f"{origin.host}:{origin.port}"))
        inner = await loop.start_tls(transport, protocol, tls_context(origin.ca_file), server_hostname=origin.host)
    except BaseException:
        transport.abort()
        raise
    protocol.connection_made(inner)


def _question(proxy: HttpProxy, origin: Origin) -> bytes:
    target = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode()


def _status(head: bytes) -> int:
    parts = head.partition(b"\r\n")[0].split(b" ", 2)
    known = len(parts) >= 2 and parts[0].startswith(b"HTTP/1.") and parts[1].isdigit()
    return int(parts[1]) if known else 0


def _why(status: int, proxy: str, target: str) -> str:
    if status == 407:
        return f"the proxy {proxy} requires a name and password: http://user:password@{proxy}"
    if status in (403, 405):
        return f"the proxy {proxy} does not allow connections to {target} (HTTP {status})"
    if status in (502, 503, 504):
        return f"the proxy {proxy} cannot reach {target} (HTTP {status})"
    return f"the proxy {proxy} answered HTTP {status}" if status else f"{proxy} does not answer like an HTTP proxy"
