"""Progress reports to the client while tools run: as `proxy_status` chunks, as reasoning text, or not at all.

Progress of tools (including MCP `notifications/progress`) may arrive from any thread and at any rate; it is passed on
at most once a second per call, the latest first.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from openai_proxy.agent.emit import TurnOutput
from openai_proxy.secrets import vault

PROGRESS_INTERVAL: Final = 1.0  # seconds between two reports of one call
_MAX_MESSAGE: Final = 300  # characters of a tool's own words


class StatusFeed:
    """Collects status between two opportunities to send, and wakes the turn that waits for it."""

    def __init__(self, style: str, out: TurnOutput, clock: Callable[[], float]) -> None:
        self._style = style
        self._out = out
        self._clock = clock
        self._waiting: deque[dict[str, Any]] = deque(maxlen=1000)
        self._last: dict[int, float] = {}
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self.wake = asyncio.Event()

    def post(self, status: str, tool_name: str | None = None, **more: Any) -> None:
        """Report that the turn is now `status`."""
        if self._style == "off":
            return
        members: dict[str, Any] = {"status": status}
        if tool_name is not None:
            members["tool_name"] = tool_name
        members.update({name: value for name, value in more.items() if value is not None})
        self._waiting.append(members)
        self.notify()

    def progress(self, number: int, tool_name: str) -> Callable[[float | None, float | None, str | None], None]:
        """The progress callback of call `number`."""

        def report(progress: float | None, total: float | None, message: str | None) -> None:
            now = self._clock()
            if now - self._last.get(number, -PROGRESS_INTERVAL) < PROGRESS_INTERVAL:
                return
            self._last[number] = now
            words = vault.scrub(message[:_MAX_MESSAGE]) if message else None
            self.post("executing_tool", tool_name, call=number, progress=progress, total=total, message=words)

        return report

    def notify(self) -> None:
        """Wake the turn; thread-safe."""
        if threading.get_ident() == self._thread:
            self.wake.set()
        elif not self._loop.is_closed():  # a handler's thread may outlive the daemon's loop
            self._loop.call_soon_threadsafe(self.wake.set)

    def flush(self) -> None:
        """Send what has been posted."""
        while self._waiting:
            members = self._waiting.popleft()
            if self._style == "chunk":
                self._out.status(members)
            elif (words := _spoken(members)) is not None:
                self._out.delta({"reasoning_content": words})


def _spoken(members: dict[str, Any]) -> str | None:
    name = members.get("tool_name")
    if members["status"] == "executing_tool":
        return f"[{name}: {members['message']}]\n" if "message" in members else f"[calling {name}]\n"
    if members["status"] == "tool_completed":
        return f"[{name} {'failed' if members.get('is_error') else 'answered'}]\n"
    return None
