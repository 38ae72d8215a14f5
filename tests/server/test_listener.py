"""The options that client sockets inherit from the listening one."""

import asyncio
import socket
from typing import Any

import pytest

from openai_proxy.server.listener import UNSENT, Listener


class Nobody(asyncio.Protocol):
    """Accepts connections and sends nothing."""

    connections: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.transports: list[asyncio.BaseTransport] = []
        self.came = asyncio.Event()

    def __call__(self) -> asyncio.BaseProtocol:
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.append(transport)
        self.came.set()

    def has_silent(self) -> bool:
        return False

    async def shutdown(self, seconds: float) -> None:
        for transport in self.transports:
            transport.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no TCP_NOTSENT_LOWAT")
@pytest.mark.parametrize("adopted", [False, True])
async def test_connections_inherit_the_options_of_the_listening_socket(adopted: bool) -> None:
    server = Nobody()
    listener = Listener(server)
    if adopted:
        sock = socket.create_server(("127.0.0.1", 0))
        await listener.adopt([sock])
    else:
        await listener.open("127.0.0.1", 0)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with asyncio.timeout(30):
            await server.came.wait()
        accepted = server.transports[0].get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT, (
            "little data waits in the kernel for a client that does not read"
        )
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1, "a vanished client is detected"
        writer.close()
    finally:
        listener.close()
        await listener.shutdown(0)
