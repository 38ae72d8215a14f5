"""What stands in front of aiohttp's request handler, as far as a connection knows it."""

import asyncio
from typing import Any, Protocol


class FastPath(Protocol):
    """What takes requests before aiohttp's handler sees them: one object per connection."""

    @property
    def busy(self) -> bool:
        """True while it has a request, or waits for the rest of one."""
        ...

    def connected(self, transport: asyncio.BaseTransport, peer: str) -> None:
        """The connection is open."""
        ...

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; what it does not take goes to `RelayingConnection.parse`."""
        ...

    def wants(self, message: Any) -> bool:
        """True if the head of this parsed message does not rule the fast path out."""
        ...

    def parsed(self, message: Any, first: bytes, body: bytes) -> None:
        """A message it wants is whole. `first` is the segment its head came in, b"" where that is not known."""
        ...

    def pause(self) -> None:
        """The client's socket is full."""
        ...

    def resume(self) -> None:
        """The client reads again."""
        ...

    def client_gone(self) -> None:
        """The client has closed its side."""
        ...

    def disconnected(self) -> None:
        """The connection is closed."""
        ...


class HandedBack(Protocol):
    """What the fast path knows of a request it hands back."""

    def abandon(self) -> None:
        """The client left before the request handler took it up."""
        ...
