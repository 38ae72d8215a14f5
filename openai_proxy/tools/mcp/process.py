"""One server process and its descendants: started in a session of its own, and ended completely.

The SDK's transport exposes neither pid nor exit status, and leaves grandchildren when a server exits by itself
(measured on mcp 2.3.0). The end of stdout counts as the server's end, not that of the process: killing an `npx` wrapper
leaves a server that still answers.
"""

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from openai_proxy.children import Child, StderrTail
from openai_proxy.tasks import spawn
from openai_proxy.tools.mcp.settings import MARK

log = logging.getLogger(__name__)

EOF_GRACE = 2.0
"""Seconds that a server has to exit after its stdin was closed, before SIGTERM."""

TERM_GRACE = 2.0
"""Seconds that it has after SIGTERM, before SIGKILL."""

_READ_AHEAD = 1024 * 1024  # bytes of stdout buffered before the pipe is paused
_LEFTOVER_GRACE = 0.2


class ServerProcess:
    """The process, its stdout as bytes, its stdin, and its latest stderr."""

    def __init__(self, server: str, mark: str) -> None:
        self._child: Child | None = None
        self._mark = mark
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._reading_paused = False
        self._eof = False
        self._changed = asyncio.Event()
        self._write_lock = asyncio.Lock()
        self._stopping: asyncio.Task[None] | None = None
        self.stderr = StderrTail(f"mcp server {server}")
        self.pid = 0

    @classmethod
    async def start(
        cls,
        server: str,
        command: str,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: str | Path | None,
    ) -> "ServerProcess":
        """Run `command` (found on the child's own PATH, never through a shell). Raises OSError if it cannot run.

        If cancelled while it starts, the process is stopped before the cancellation is passed on.
        """
        process = cls(server, secrets.token_hex(8))
        starting = spawn(process._start(command, args, env, cwd), name=f"mcp-spawn-{server}")
        try:
            failure = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            await process.stop()
            raise
        if failure is not None:
            raise failure
        return process

    async def _start(
        self, command: str, args: Sequence[str], env: Mapping[str, str], cwd: str | Path | None
    ) -> OSError | None:
        try:
            self._child = await Child.start(
                command,
                args,
                {**env, MARK: self._mark},
                cwd,
                stdout=(self._take, self._end),
                stderr=(self.stderr.feed, self.stderr.flush),
            )
        except OSError as failure:
            return failure
        self.pid = self._child.pid
        return None

    def _take(self, data: bytes) -> None:
        self._chunks.append(data)
        self._held += len(data)
        self._changed.set()
        if self._held > _READ_AHEAD and not self._reading_paused and self._child is not None:
            pipe = self._child.stdout
            if pipe is not None and not pipe.is_closing():
                pipe.pause_reading()
                self._reading_paused = True

    def _end(self) -> None:
        self._eof = True
        self._changed.set()

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: a signal), None while it runs."""
        return self._child.returncode if self._child is not None else None

    async def exited(self) -> None:
        """Wait for the end of the process itself; its children may hold its pipes, and even answer."""
        if self._child is not None:
            await self._child.exited.wait()

    async def read(self) -> bytes:
        """The next bytes of stdout, b"" at the end."""
        while not self._chunks:
            if self._eof:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._chunks.popleft()
        self._held -= len(data)
        if self._reading_paused and self._held < _READ_AHEAD // 2:
            self._reading_paused = False
            pipe = self._child.stdout if self._child is not None else None
            if pipe is not None and not pipe.is_closing():
                pipe.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Queue `data` for stdin once earlier data was written. Raises ConnectionError if it is closed.

        It waits before it writes, not after, so a call cancelled in that wait was never delivered.
        """
        child = self._child
        assert child is not None
        async with self._write_lock:
            await child.writable.wait()
            if child.stdin is None or child.stdin.is_closing() or self._eof:
                raise ConnectionError("the server's input is closed")
            child.stdin.write(data)

    async def stop(self) -> None:
        """End the process and its descendants. Idempotent; completes even if the caller is cancelled."""
        if self._stopping is None:
            self._stopping = spawn(self._stop(), name=f"mcp-stop-{self.pid}")
        cancelled = False
        while not self._stopping.done():
            try:
                await asyncio.shield(self._stopping)
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    async def _stop(self) -> None:
        child = self._child
        if child is None:
            return
        pipe = child.stdin
        if pipe is not None and not pipe.is_closing():
            # What a server has not read by now it never will: without abort the pipe would stay open for it.
            pipe.abort() if pipe.get_write_buffer_size() else pipe.close()
        if not await _set(child.exited, EOF_GRACE):
            self._signal(signal.SIGTERM)
            if not await _set(child.exited, TERM_GRACE):
                self._signal(signal.SIGKILL)
                await child.exited.wait()
        elif self._signal(signal.SIGTERM):
            # The server has exited but some of its own children have not: after a short wait they are killed.
            await self._group_gone(_LEFTOVER_GRACE)
        if self._signal(signal.SIGKILL):
            await self._group_gone(_LEFTOVER_GRACE)  # until the kernel has done it
        if sys.platform == "linux":
            await asyncio.to_thread(kill_marked, self._mark)
        child.close()
        self._end()

    async def _group_gone(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.02)):
            if not self._signal(0):
                return
            await asyncio.sleep(0.02)

    def _signal(self, number: int) -> bool:
        """Signal the whole group; False if it no longer exists."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


async def _set(event: asyncio.Event, seconds: float) -> bool:
    """True if `event` is set within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def kill_marked(mark: str) -> None:
    """Kill whatever still has our mark in its environment: daemons that left the group with a session of their own.

    Jenkins finds runaway children the same way (https://www.jenkins.io/doc/book/using/spawning-processes-from-build/).
    Repeated until nothing is found: a kill takes time, and the process may just have forked.
    """
    needle = f"{MARK}={mark}".encode()
    for _ in range(50):
        found = [pid for pid in _processes() if _carries(pid, needle)]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # gone meanwhile
        time.sleep(0.01)
    log.warning("%d processes that a server or tool started cannot be killed", len(found))


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208  # ten times Path's speed


def _carries(pid: int, needle: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: PTH123  # as above
            return needle in environ.read().split(b"\0")
    except OSError:
        return False  # not readable for us, or gone
