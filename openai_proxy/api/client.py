"""A client connection, as far as an exchange that is spliced to it knows it."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from openai_proxy.errors import ProxyError
from openai_proxy.runtime.state import State
from openai_proxy.upstream.failover import Opened

if TYPE_CHECKING:
    from openai_proxy.api.splice import Splice

KEEP_ALIVE: Final = 75.0
"""Seconds an idle connection is kept: above Home Assistant's 15 and nginx's 60, so that the client closes first."""


class Client(ABC):
    """The client connection a splice writes to."""

    __slots__ = ("state",)

    def __init__(self, state: State) -> None:
        self.state = state

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Write to the client."""

    @abstractmethod
    def cut(self) -> None:
        """Close without a proper end, behind what was sent: the client must see that the answer broke."""

    @abstractmethod
    def reset(self) -> None:
        """Drop the connection, and what the client did not read."""

    @abstractmethod
    def committed(self) -> None:
        """The answer has begun: there will be no other try."""

    @abstractmethod
    def fall_back(self, splice: "Splice", opened: Opened | None, error: ProxyError | None = None) -> None:
        """Nothing was sent yet: the ordinary way goes on from here."""

    @abstractmethod
    def finished(self, splice: "Splice") -> None:
        """The exchange is over."""
