"""Streamable HTTP: the SDK's transport on a client of ours.

Imports the SDK: reached only through `sdk.py`.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType

from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from openai_proxy.tools.mcp.failures import Failure
from openai_proxy.tools.mcp.filter import Wire
from openai_proxy.tools.mcp.http_client import Gate, new_client
from openai_proxy.tools.mcp.lines import LINE_CAP
from openai_proxy.tools.mcp.settings import ServerSettings


class StreamableTransport(AbstractAsyncContextManager[TransportStreams]):
    """One connection, or with a stateless server (Home Assistant, every 2026 one) a series of requests."""

    foreign = True  # the SDK reads it, so the wire stands in front

    def __init__(self, config: ServerSettings, wire: Wire, lose: Callable[[Failure], None]) -> None:
        self._config = config
        self._gate = Gate(config, wire, lose)
        self._stack = AsyncExitStack()

    @property
    def failure(self) -> str | None:
        """What the network last did wrong."""
        return self._gate.failure

    @property
    def status(self) -> int | None:
        """The last HTTP status."""
        return self._gate.status

    async def __aenter__(self) -> TransportStreams:
        client = await self._stack.enter_async_context(new_client(self._config, self._gate))
        return await self._stack.enter_async_context(
            # The gate has bounded each event already; this limit only must not be the tighter one.
            streamable_http_client(self._config.url or "", http_client=client, max_sse_event_size=2 * LINE_CAP)
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)
