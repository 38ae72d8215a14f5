"""The interface of the fast path in front of aiohttp's request handler, as a connection sees it."""

import asyncio
from typing import Any, Final, Protocol

BODY_WAIT: Final = 0.25
"""Seconds for the rest of a body; then the request handler waits for it, with its own timeouts."""


class FastPath(Protocol):
    """Takes requests before aiohttp's handler sees them. Each connection has its own."""

    @property
    def busy(self) -> bool:
        """True while it has a request, or waits for the rest of one."""
        ...

    def connected(self, transport: asyncio.BaseTransport, peer: str) -> None:
        """The connection is open."""
        ...

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; what it does not take is passed to `RelayingConnection.parse`."""
        ...

    def wants(self, message: Any) -> bool:
        """True if the head of this parsed message does not rule the fast path out."""
        ...

    def parsed(self, message: Any, first: bytes, body: bytes) -> None:
        """A message that it wants is complete. `first` is the segment of its head, b"" if unknown."""
        ...

    def pause(self) -> None:
        """The client's socket is full."""
        ...

    def resume(self) -> None:
        """The client is reading again."""
        ...

    def client_gone(self) -> None:
        """The client has closed its side."""
        ...

    def disconnected(self) -> None:
        """The connection is closed."""
        ...


class ReturnedRequest(Protocol):
    """What the fast path knows about a request that it returns."""

    def abandon(self) -> None:
        """The client disconnected before the request handler took it up."""
        ...
