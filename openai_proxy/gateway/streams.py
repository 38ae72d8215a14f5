"""Open streams of `/mcp` clients: `GET` in the older version, `subscriptions/listen` in the newer.

Both only announce that the tool list has changed.

A stream leases no configuration and does not count as a request, because it may stay open for days. It ends when its
client leaves, when its caller loses access, and when the daemon stops.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from openai_proxy.errors import Overloaded, ProxyError
from openai_proxy.exchange import Caller
from openai_proxy.gateway.offer import Offers
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.reply import Reply

MAX_STREAMS: Final = 1000

_GATHER: Final = 0.05  # seconds in which several changes are combined: a starting server causes more than one
_PING: Final = 25.0  # idle seconds after which a comment is sent, so that proxies in between keep the stream


class _Stream:
    __slots__ = ("caller", "digest", "model", "over", "wake")

    def __init__(self, caller: Caller, model: str | None, digest: bytes) -> None:
        self.caller = caller
        self.model = model
        self.digest = digest
        self.over = False
        self.wake: asyncio.Future[None] | None = None

    def poke(self) -> None:
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class Streams:
    """All open streams, and watching for changes while there are any."""

    def __init__(self, state: ProxyState, offers: Offers) -> None:
        self._state = state
        self._offers = offers
        self._open: set[_Stream] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._forget: Callable[[], None] | None = None

    async def serve(
        self, reply: Reply, caller: Caller, model: str | None, *, first: bytes, changed: bytes, last: bytes
    ) -> None:
        """Hold a stream whose head was sent: `first` at once, `changed` after each change, `last` when we end it.

        All three are finished events; an empty one is not sent. Raises ClientGone when the client disconnects.
        """
        offer = self._offers.of(self._state.generation, caller, model)
        stream = _Stream(caller, model, offer.digest)
        self._open.add(stream)
        if self._forget is None and self._state.has_supervisor:
            self._forget = self._state.supervisor.watch(self._something_changed)
        try:
            await reply.write(first or b": open\n\n")
            await self._hold(stream, reply, changed)
            await reply.write(last)
            await reply.end()
        finally:
            self._open.discard(stream)
            if not self._open and self._forget is not None:
                self._forget()
                self._forget = None

    def admit(self) -> None:
        """Raise Overloaded if there are too many streams."""
        if len(self._open) >= MAX_STREAMS:
            raise Overloaded("Too many MCP clients are listening. Try again later.", headers={"Retry-After": "60"})

    def close(self) -> None:
        """End every stream: the daemon is stopping."""
        for stream in self._open:
            stream.over = True
            stream.poke()

    async def _hold(self, stream: _Stream, reply: Reply, changed: bytes) -> None:
        loop = asyncio.get_running_loop()
        while not stream.over:
            stream.wake = loop.create_future()
            timer = loop.call_later(_PING, stream.poke)
            seen = stream.digest
            try:
                await stream.wake
            finally:
                timer.cancel()
            if not stream.over:
                await reply.write(changed if stream.digest != seen else b": ping\n\n")

    def _something_changed(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_GATHER, self._look)

    def _look(self) -> None:
        """Wake the streams whose list has changed."""
        self._looking = None
        generation = self._state.generation
        for stream in self._open:
            try:
                digest = self._offers.of(generation, stream.caller, stream.model).digest
            except (ProxyError, KeyError):  # the model is gone, or the group
                stream.over = True
                stream.poke()
                continue
            if digest != stream.digest:
                stream.digest = digest
                stream.poke()
