"""Who still uses what an edit took out of service.

A generation is leased by each request at the door and given back at its end. Once it is out of service and its last
lease has ended, what it held is let go: providers, and MCP servers an edit removed. Providers are shared by every
generation that has the same connection, so each is closed with the last generation that held it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from openai_proxy.tasks import spawn
from openai_proxy.upstream.provider import Provider

log = logging.getLogger(__name__)

LIMIT: Final = 3600.0
"""Seconds after which a generation out of service is let go even of requests that still use it."""

GRACE: Final = 1.0
"""Seconds between the last lease's end and the letting go: a request that changes hands gives back and takes again."""


class Lease:
    """How many requests use one generation. Changed at every request, so it is two integers and no lock."""

    __slots__ = ("_leases", "_let_go", "deadline", "users")

    def __init__(self) -> None:
        self.users = 0
        self.deadline: float | None = None  # set once the generation is out of service
        self._let_go: list[Callable[[], None]] = []
        self._leases: Leases | None = None

    def take(self) -> None:
        """A request begins under this generation."""
        self.users += 1

    def give_back(self) -> None:
        """It has ended."""
        self.users -= 1
        if self.users == 0 and self._leases is not None:
            self._leases.look_later(self)

    def holds(self, let_go: Callable[[], None]) -> None:
        """Call `let_go` when nobody needs this generation any more."""
        self._let_go.append(let_go)

    def retire(self, leases: "Leases", deadline: float) -> None:
        """The generation is out of service."""
        self._leases = leases
        self.deadline = deadline

    def end(self) -> None:
        """Let go of everything, once."""
        self._leases = None
        held, self._let_go = self._let_go, []
        for let_go in reversed(held):
            let_go()


class Leases:
    """All generations that are out of service and not yet let go. Belongs to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, grace: float = GRACE, limit: float = LIMIT) -> None:
        self._loop = loop
        self._grace = grace
        self._limit = limit
        self._retiring: dict[Lease, asyncio.TimerHandle] = {}
        self._holders: dict[int, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many generations are out of service and still held."""
        return len(self._retiring)

    def hold(self, lease: Lease, providers: Iterable[Provider]) -> None:
        """`lease`'s generation needs `providers`: each is closed when the last one that needs it is let go."""
        held = tuple(providers)
        for provider in held:
            self._holders[id(provider)] = self._holders.get(id(provider), 0) + 1

        def let_go() -> None:
            for provider in held:
                self._holders[id(provider)] -= 1
                if not self._holders[id(provider)]:
                    del self._holders[id(provider)]
                    task = spawn(provider.aclose(), name=f"close connection {provider.name}")
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)

        lease.holds(let_go)

    def retire(self, lease: Lease) -> None:
        """`lease`'s generation has been replaced."""
        lease.retire(self, self._loop.time() + self._limit)
        self.look_later(lease)

    def look_later(self, lease: Lease) -> None:
        """See after a moment whether it can be let go."""
        handle = self._retiring.get(lease)
        if handle is not None:
            handle.cancel()
        self._retiring[lease] = self._loop.call_later(self._grace, self._look, lease)

    def _look(self, lease: Lease) -> None:
        assert lease.deadline is not None
        if lease.users and self._loop.time() < lease.deadline:
            self._retiring[lease] = self._loop.call_at(lease.deadline, self._look, lease)
            return
        if lease.users:
            log.warning("a configuration is let go although %d requests that began under it still run", lease.users)
        del self._retiring[lease]
        lease.end()

    async def aclose(self) -> None:
        """Let go of all that is out of service, and wait until it is closed."""
        for lease, handle in self._retiring.items():
            handle.cancel()
            lease.end()
        self._retiring.clear()
        if self._closing:
            await asyncio.wait(set(self._closing))
