"""What Home Assistant's server offers only for one satellite: timers, if the satellite supports them.

Its tool list depends on the device (`connection.DEVICE_META`). A list is valid for a minute; after that the next
request still gets it while it is read again, so that only a satellite's first request has to wait, and not for long.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from openai_proxy.tasks import spawn
from openai_proxy.tools.mcp.definitions import ToolDefinition

AGE: Final = 60.0
"""Seconds after which a list is read again."""

PATIENCE: Final = 1.0
"""Seconds that a request waits for the first list of its satellite; reading takes 15 to 55 ms."""

MAX_DEVICES: Final = 256

Definitions = Mapping[str, ToolDefinition]


class _Device:
    def __init__(self) -> None:
        self.tools: Definitions = {}
        self.read_at: float | None = None
        self.reading: asyncio.Task[None] | None = None


class DeviceTools:
    """The lists of one connection."""

    def __init__(self, read: Callable[[str], Awaitable[Definitions | None]]) -> None:
        """`read` asks the server what it offers for a device; None if it does not answer."""
        self._read = read
        self._devices: dict[str, _Device] = {}

    async def of(self, device: str) -> Definitions:
        """Everything that the server offers for `device`, as far as known; nothing if it does not answer soon."""
        found = self._devices.pop(device, None) or _Device()
        while len(self._devices) >= MAX_DEVICES:
            self._drop(next(iter(self._devices)))
        self._devices[device] = found  # the most recently used one is last
        if found.reading is None and (found.read_at is None or time.monotonic() - found.read_at >= AGE):
            found.reading = spawn(self._look(device, found), name="mcp-device-tools")
        if found.read_at is None and found.reading is not None:
            await asyncio.wait({found.reading}, timeout=PATIENCE)
        return found.tools

    def outdate(self) -> None:
        """Have every list read again."""
        for found in self._devices.values():
            if found.read_at is not None:
                found.read_at -= AGE

    def close(self) -> None:
        """End pending reads: the connection is over."""
        for device in list(self._devices):
            self._drop(device)

    async def _look(self, device: str, found: _Device) -> None:
        try:
            tools = await self._read(device)
            if tools is not None:
                found.tools = tools
        finally:
            found.read_at, found.reading = time.monotonic(), None

    def _drop(self, device: str) -> None:
        reading = self._devices.pop(device).reading
        if reading is not None:
            reading.cancel()
