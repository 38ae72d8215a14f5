"""The part of a stream for the SDK that is the same whatever it reads: iterating, and leaving.

Imports the SDK: reached only through `sdk.py`.
"""

from abc import abstractmethod

import anyio
from mcp.client._transport import ReadStream
from mcp.shared.message import SessionMessage


class MessageStream(ReadStream[SessionMessage | Exception]):
    """Subclasses have `receive`, which raises anyio.EndOfStream at the end, and `aclose`."""

    @abstractmethod
    async def receive(self) -> SessionMessage | Exception:
        """The next item."""

    @abstractmethod
    async def aclose(self) -> None:
        """Read no more."""

    def __aiter__(self) -> "MessageStream":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> "MessageStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
