"""Wakes a sleeping machine with the magic packet of Wake-on-LAN.

Six bytes of 0xFF and the address of its network card sixteen times, in a UDP broadcast
(https://www.amd.com/system/files/TechDocs/20213.pdf). Nothing answers it: only a retry shows whether the machine is up.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from openai_proxy.config.connection import WakeConfig
from openai_proxy.errors import UpstreamError
from openai_proxy.exchange import Exchange
from openai_proxy.upstream.causes import is_asleep
from openai_proxy.upstream.queue import Publish

T = TypeVar("T")

log = logging.getLogger(__name__)

AGAIN: Final = 1.0
"""Seconds between two attempts to reach it."""

_PACKET_EVERY: Final = 10.0
"""Seconds between two packets: one may get lost, and a machine that was just falling asleep misses it."""


def magic_packet(mac: str) -> bytes:
    """The datagram that wakes the network card `mac` ("aa:bb:cc:dd:ee:ff")."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


class Waker:
    """Wakes the machine behind one connection, for all requests that wait for it."""

    def __init__(self, connection: str, config: WakeConfig, publish: Publish) -> None:
        self._connection = connection
        self._config = config
        self._publish = publish
        self._sent = -_PACKET_EVERY
        self._waiting = 0

    def call(self) -> None:
        """Send the packet, unless one is being sent."""
        now = time.monotonic()
        if now - self._sent < _PACKET_EVERY:
            return
        self._sent = now
        config = self._config
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
                datagram.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                datagram.setblocking(False)
                datagram.sendto(magic_packet(config.mac), (config.broadcast, config.port))
        except OSError as error:
            log.warning("connection %s: the packet to wake it could not be sent: %s", self._connection, error.strerror)

    async def wait_for(self, exchange: Exchange, ask: Callable[[], Awaitable[T]]) -> T:
        """The result of `ask` once the machine is up, or its last error: `exchange` waits `wait` seconds at most.

        The exchange shows all attempts as one.
        """
        until = time.monotonic() + self._config.wait
        self._begin(exchange)
        awake = False
        try:
            while True:
                self.call()
                exchange.state = "waking"
                await asyncio.sleep(min(AGAIN, max(0.0, until - time.monotonic())))
                del exchange.attempts[-1:]
                try:
                    answer = await ask()
                except UpstreamError as error:
                    awake = not is_asleep(error)
                    if awake or time.monotonic() >= until:
                        raise
                else:
                    awake = True
                    return answer
        finally:
            self._end(awake)

    def _begin(self, exchange: Exchange) -> None:
        self._waiting += 1
        if self._waiting == 1:
            log.info("connection %s does not answer: waking its machine", self._connection)
        self._say("waking")
        exchange.notes.append(f"woke the machine of '{self._connection}'")
        if exchange.on_waking is not None:
            exchange.on_waking()

    def _end(self, awake: bool) -> None:
        self._waiting -= 1
        if not self._waiting:
            log.info("connection %s: its machine %s", self._connection, "is awake" if awake else "does not wake up")
        self._say("awake" if awake else "asleep")

    def _say(self, state: str) -> None:
        members: dict[str, Any] = {"connection": self._connection, "state": state, "waiting": self._waiting}
        self._publish("wake", members)
