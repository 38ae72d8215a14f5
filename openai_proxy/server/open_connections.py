"""The number of connections, in total and per client, and whether one more is accepted.

Every connection costs a file descriptor and some kilobytes before its first request has been read. One client that
opens thousands must not lock out the others; if the limit is reached, idle connections are closed before any is
refused.
"""

import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

_HERE: Final = frozenset({"", "127.0.0.1", "::1"})
"""Peers that may be many clients: those of a Unix socket, and this machine, where a reverse proxy may run."""

_PAUSE: Final = 0.5  # seconds between two searches for idle connections, if the last one has found none


class ConnectionLimits(NamedTuple):
    """The maximum connections in total and per client, and whether an address is a reverse proxy's."""

    in_all: int
    of_one: int
    is_proxy: Callable[[str], bool]


class OpenConnections:
    """The connections of one server. `close_resting` closes some idle ones, and says whether there were any."""

    def __init__(self, limits: Callable[[], ConnectionLimits], close_resting: Callable[[], bool]) -> None:
        self._limits = limits
        self._close_resting = close_resting
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._all = 0
        self._of: Counter[str] = Counter()
        self._search_again = 0.0

    def admit(self, peer: str) -> bool:
        """Count one more connection from `peer`; False if there are too many, and it must not be served."""
        limits = self._limits()
        self._all += 1
        self._of[peer] += 1
        if self._of[peer] > limits.of_one and peer not in _HERE and not limits.is_proxy(peer):
            return False
        return self._all <= self._room(limits.in_all) or self._make_room()

    def ended(self, peer: str) -> None:
        """A connection that was counted has ended, served or not."""
        self._all -= 1
        self._of[peer] -= 1
        if not self._of[peer]:
            del self._of[peer]

    def _room(self, most: int) -> int:
        """`most`, or what the process's file descriptors allow: each request may need another one for the provider."""
        return most if self._files == resource.RLIM_INFINITY else min(most, max(self._files // 2, 16))

    def _make_room(self) -> bool:
        now = time.monotonic()
        if now < self._search_again:
            return False
        found = self._close_resting()
        if not found:
            self._search_again = now + _PAUSE
        return found
