"""One server process and everything it starts: spawned in a session of its own, ended to the last descendant.

The SDK's transport has neither pid nor exit status, and leaves grandchildren when a server exits by itself
(measured on mcp 2.3.0). Liveness here is the end of stdout, not of the process: killing an `npx` wrapper leaves a
server that still answers.
"""

import asyncio
import logging
import os
import secrets
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from openai_proxy.tasks import spawn
from openai_proxy.tools.mcp.environment import MARK
from openai_proxy.tools.mcp.stderr import StderrTail

log = logging.getLogger(__name__)

EOF_GRACE = 2.0
"""Seconds a server has to leave after its stdin was closed, before SIGTERM."""

TERM_GRACE = 2.0
"""Seconds it has after SIGTERM, before SIGKILL."""

_READ_AHEAD = 1024 * 1024  # bytes of stdout held before the pipe is paused
_LEFTOVER_GRACE = 0.2


class ServerProcess(asyncio.SubprocessProtocol):
    """The process, its stdout as bytes, its stdin, its stderr in a ring."""

    def __init__(self, server: str, mark: str) -> None:
        self._transport: asyncio.SubprocessTransport | None = None
        self._mark = mark
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._reading_paused = False
        self._eof = False
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._write_lock = asyncio.Lock()
        self._exited = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self.stderr = StderrTail(server)
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
        """Run `command` (found on the child's own PATH, never through a shell). Raises OSError where it cannot run.

        Cancelled while it starts, the process is stopped before the cancellation goes on.
        """
        mark = secrets.token_hex(8)
        starting = spawn(cls._spawn(server, mark, command, args, {**env, MARK: mark}, cwd), name=f"mcp-spawn-{server}")
        try:
            outcome = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            if not starting.cancelled() and isinstance(late := starting.result(), ServerProcess):
                await late.stop()
            raise
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    @classmethod
    async def _spawn(
        cls,
        server: str,
        mark: str,
        command: str,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: str | Path | None,
    ) -> "ServerProcess | OSError":
        try:
            transport, process = await asyncio.get_running_loop().subprocess_exec(
                lambda: cls(server, mark),
                command,
                *args,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            return error
        process._transport = transport
        process.pid = transport.get_pid() or 0
        return process

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        self.pid = transport.get_pid() or 0

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.stderr.feed(data)
            return
        self._chunks.append(data)
        self._held += len(data)
        self._news.set()
        if self._held > _READ_AHEAD and not self._reading_paused:
            self._reading_paused = self._pipe_call(1, "pause_reading")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._eof = True
            self._news.set()
        elif fd == 0:
            self._writable.set()  # whoever waits to write finds the pipe closed
        else:
            self.stderr.flush()

    def process_exited(self) -> None:
        self._exited.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _pipe_call(self, fd: int, method: str) -> bool:
        pipe = self._transport.get_pipe_transport(fd) if self._transport else None
        if pipe is None or pipe.is_closing():
            return False
        getattr(pipe, method)()
        return True

    # What the transport calls.

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: a signal), None while it runs."""
        return self._transport.get_returncode() if self._transport else None

    async def read(self) -> bytes:
        """The next bytes of stdout, b"" once there can be no more."""
        while not self._chunks:
            if self._eof:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._chunks.popleft()
        self._held -= len(data)
        if self._reading_paused and self._held < _READ_AHEAD // 2:
            self._reading_paused = False
            self._pipe_call(1, "resume_reading")
        return data

    async def write(self, data: bytes) -> None:
        """Queue `data` for stdin once what was written before has gone. Raises ConnectionError if it is closed.

        It waits before it writes, not after: a call cancelled in that wait was never delivered.
        """
        async with self._write_lock:
            await self._writable.wait()
            pipe = self._transport.get_pipe_transport(0) if self._transport else None
            if pipe is None or pipe.is_closing() or self._eof:
                raise ConnectionError("the server's input is closed")
            assert isinstance(pipe, asyncio.WriteTransport)
            pipe.write(data)

    async def stop(self) -> None:
        """End the process and all it started. Idempotent; runs to its end even if the caller is cancelled."""
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
        transport = self._transport
        if transport is None:
            return
        pipe = transport.get_pipe_transport(0)
        if isinstance(pipe, asyncio.WriteTransport) and not pipe.is_closing():
            # What a server did not read by now it will not read: without abort the pipe would stay open for it.
            pipe.abort() if pipe.get_write_buffer_size() else pipe.close()
        if not await self._gone(EOF_GRACE):
            self._signal(signal.SIGTERM)
            if not await self._gone(TERM_GRACE):
                self._signal(signal.SIGKILL)
                await self._exited.wait()
        elif self._signal(signal.SIGTERM):
            # The server left and some of its own children did not. A short while, then no more asking.
            await self._group_gone(_LEFTOVER_GRACE)
        if self._signal(signal.SIGKILL):
            await self._group_gone(_LEFTOVER_GRACE)  # until the kernel has done it
        if sys.platform == "linux":
            await asyncio.to_thread(_kill_marked, self._mark)
        transport.close()
        self._eof = True
        self._news.set()
        self._writable.set()

    async def _gone(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    async def _group_gone(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.02)):
            if not self._signal(0):
                return
            await asyncio.sleep(0.02)

    def _signal(self, number: int) -> bool:
        """Signal the whole group; False if there is none any more."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _kill_marked(mark: str) -> None:
    """Kill whatever still carries our mark in its environment: daemons that left the group by a session of their own.

    The way Jenkins finds runaway children (https://www.jenkins.io/doc/book/using/spawning-processes-from-build/).
    """
    needle = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if needle in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # not ours to read, or gone meanwhile
