"""Tracks the generations that an edit took out of service while requests still use them.

Each request leases a generation when it arrives and returns the lease when it ends. Once a generation is out of service
and its last lease has ended, its resources are released: providers, and MCP servers that an edit removed. Generations
with the same connection share its provider, so each is closed with the last generation that holds it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from openai_proxy.tasks import spawn
from openai_proxy.upstream.provider import Provider

log = logging.getLogger(__name__)

LIMIT: Final = 3600.0
"""Seconds after which a generation out of service is released even if requests still use it."""

GRACE: Final = 1.0
"""Seconds from the last lease's end to the release: a request that moves on returns its lease before taking another."""


class Lease:
    """Counts the requests that use one generation. Changed at every request, so it is two integers and no lock."""

    __slots__ = ("_leases", "_releases", "deadline", "users")

    def __init__(self) -> None:
        self.users = 0
        self.deadline: float | None = None  # set once the generation is out of service
        self._releases: list[Callable[[], None]] = []
        self._leases: Leases | None = None

    def take(self) -> None:
        """A request starts under this generation."""
        self.users += 1

    def give_back(self) -> None:
        """It has ended."""
        self.users -= 1
        if self.users == 0 and self._leases is not None:
            self._leases.look_later(self)

    def on_release(self, release: Callable[[], None]) -> None:
        """Call `release` when nobody needs this generation any more."""
        self._releases.append(release)

    def retire(self, leases: "Leases", deadline: float) -> None:
        """The generation is out of service."""
        self._leases = leases
        self.deadline = deadline

    def end(self) -> None:
        """Release everything, once."""
        self._leases = None
        held, self._releases = self._releases, []
        for release in reversed(held):
            release()


class Leases:
    """All generations that are out of service and not released yet. Belongs to the event loop."""

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
        """`lease`'s generation needs `providers`: each is closed when the last one that needs it is released."""
        held = tuple(providers)
        for provider in held:
            self._holders[id(provider)] = self._holders.get(id(provider), 0) + 1

        def release() -> None:
            for provider in held:
                self._holders[id(provider)] -= 1
                if not self._holders[id(provider)]:
                    del self._holders[id(provider)]
                    task = spawn(provider.aclose(), name=f"close connection {provider.name}")
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)

        lease.on_release(release)

    def retire(self, lease: Lease) -> None:
        """`lease`'s generation has been replaced."""
        lease.retire(self, self._loop.time() + self._limit)
        self.look_later(lease)

    def look_later(self, lease: Lease) -> None:
        """Check after a moment whether it can be released."""
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
            log.warning(
                "a configuration is released although %d requests that began under it are still running", lease.users
            )
        del self._retiring[lease]
        lease.end()

    async def aclose(self) -> None:
        """Release everything that is out of service, and wait until it is closed."""
        for lease, handle in self._retiring.items():
            handle.cancel()
            lease.end()
        self._retiring.clear()
        if self._closing:
            await asyncio.wait(set(self._closing))
