"""A child process with pipes on any event loop, and the last lines of what it writes to stderr.

Not `loop.subprocess_exec`: on uvloop (0.23) a child inherits every inheritable descriptor (a socket-activated
listener among them) and second copies of its own pipes, `close_fds` or not; both were seen in `/proc/self/fd`.
`subprocess.Popen` closes them in C between fork and exec.
"""

import asyncio
import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from openai_proxy.secrets import vault
from openai_proxy.tasks import spawn

log = logging.getLogger(__name__)


class _Output(asyncio.Protocol):
    """Hands on what comes out of one pipe, and its end."""

    def __init__(self, data: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._data = data
        self._end = end

    def data_received(self, data: bytes) -> None:
        self._data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()


class _Input(asyncio.BaseProtocol):
    """Keeps `writable` true to the state of the pipe; a closed pipe is writable, so that nobody waits for it."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()


class Child:
    """A running child: its pipes as transports, and the news of its exit."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self._popen = popen
        self._input = _Input()
        self._pidfd: int | None = None
        self.pid = popen.pid
        self.exited = asyncio.Event()
        self.stdin: asyncio.WriteTransport | None = None
        self.stdout: asyncio.ReadTransport | None = None
        self.stderr: asyncio.ReadTransport | None = None

    @classmethod
    async def start(
        cls,
        command: str,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: str | Path | None,
        *,
        stdout: tuple[Callable[[bytes], None], Callable[[], None]],
        stderr: tuple[Callable[[bytes], None], Callable[[], None]],
    ) -> "Child":
        """Start `command`, found on the PATH of `env`, in a session of its own. Raises OSError where it cannot run.

        `stdout` and `stderr` are what to call with data and at the end.
        """
        # In a thread: looking for the command and starting it wait for the disk.
        starting = asyncio.get_running_loop().run_in_executor(None, _popen, command, args, env, cwd)
        try:
            popen = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_end_unwanted)  # the thread goes on, and nobody would know its child
            await asyncio.wait({starting})
            raise
        child = cls(popen)
        child._watch_exit()
        try:
            await child._connect(stdout, stderr)
        except BaseException:
            popen.kill()
            raise
        return child

    async def _connect(
        self,
        stdout: tuple[Callable[[bytes], None], Callable[[], None]],
        stderr: tuple[Callable[[bytes], None], Callable[[], None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.stdin, _ = await loop.connect_write_pipe(lambda: self._input, self._popen.stdin)
        self.stdout, _ = await loop.connect_read_pipe(lambda: _Output(*stdout), self._popen.stdout)
        self.stderr, _ = await loop.connect_read_pipe(lambda: _Output(*stderr), self._popen.stderr)

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: a signal), None while it runs."""
        return self._popen.returncode

    @property
    def writable(self) -> asyncio.Event:
        """Set while stdin takes more."""
        return self._input.writable

    def close(self) -> None:
        """Let go of the pipes of a child that has ended."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or one older than 5.3
            spawn(self._wait_in_thread(), name=f"mcp-wait-{self.pid}")
            return
        loop.add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self._popen.wait()  # it has ended: this takes no time
        self.exited.set()

    async def _wait_in_thread(self) -> None:
        await asyncio.to_thread(self._popen.wait)
        self.exited.set()


def _end_unwanted(started: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    """A child that came up after its start was cancelled: end it and its group, and reap it."""
    if started.cancelled() or started.exception() is not None:
        return
    with started.result() as popen:  # leaving it closes the pipes and waits, which after SIGKILL takes no time
        try:
            os.killpg(popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _popen(
    command: str, args: Sequence[str], env: Mapping[str, str], cwd: str | Path | None
) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603  # the owner's own command, as a list, never through a shell
        [command, *args],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        close_fds=True,
    )


KEPT_LINES = 50
LINE_LENGTH = 500
_BURST = 30  # lines logged at once …
_PER_SECOND = 2.0  # … and then at this rate: a flood of 200,000 lines must not fill the journal


class StderrTail:
    """Feed it bytes; read `text()` for the status page. Costs one scan of each chunk, whatever is in it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._partial = b""
        self._budget = float(_BURST)
        self._refilled = time.monotonic()
        self.unlogged = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        pieces = (self._partial + data).rsplit(b"\n", KEPT_LINES + 1)
        self._partial = pieces.pop()[-LINE_LENGTH * 4 :]
        if len(pieces) > KEPT_LINES:
            # The first piece is everything before the lines that are kept.
            self.unlogged += pieces.pop(0).count(b"\n") + 1
        for piece in pieces:
            self._keep(piece)

    def flush(self) -> None:
        """Take the unfinished last line as a line: the server has gone."""
        if self._partial:
            self._keep(self._partial)
            self._partial = b""

    def text(self) -> str:
        """The last lines, without secrets."""
        return "\n".join(self._lines)

    def last_line(self) -> str:
        """The last line that says anything, or ""."""
        return next((line for line in reversed(self._lines) if line.strip()), "")

    def _keep(self, piece: bytes) -> None:
        text = piece[: LINE_LENGTH * 4].decode("utf-8", "replace").rstrip()
        line = vault.scrub("".join(c if c.isprintable() or c == "\t" else "�" for c in text[:LINE_LENGTH]))
        self._lines.append(line)
        now = time.monotonic()
        self._budget = min(_BURST, self._budget + (now - self._refilled) * _PER_SECOND)
        self._refilled = now
        if self._budget < 1:
            self.unlogged += 1
            return
        self._budget -= 1
        log.debug("mcp server %s: %s", self._server, line)
