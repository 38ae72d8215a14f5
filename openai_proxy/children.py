"""Child processes (MCP servers, command tools, local models): what they inherit and how they are started.

A child inherits variables about the machine, but never one of our keys; its caller adds names of its own.
NOTIFY_SOCKET, CREDENTIALS_DIRECTORY and provider keys are never passed on, nor is a value that contains a known secret
under another name.

`loop.subprocess_exec` is not used: on uvloop (0.23) a child inherits every inheritable descriptor (including a
socket-activated listener) and second copies of its own pipes, even with `close_fds`; both were observed in
`/proc/self/fd`. `subprocess.Popen` closes them in C between fork and exec.
"""

import asyncio
import io
import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

from openai_proxy.import_path import import_path
from openai_proxy.secrets import SECRET_NAME, vault
from openai_proxy.tasks import spawn

log = logging.getLogger(__name__)

KEPT_LINES = 50
LINE_LENGTH = 500
_BURST = 30  # lines logged at once …
_PER_SECOND = 2.0  # … then at this rate: a flood of 200,000 lines must not fill the journal

_NAMES = frozenset(
    {
        *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    }
)
_PREFIXES = ("LC_", "XDG_")
_PYTHON = frozenset({"LD_LIBRARY_PATH", "VIRTUAL_ENV"})


def inherited(
    environ: Mapping[str, str], names: Collection[str] = (), prefixes: tuple[str, ...] = ()
) -> dict[str, str]:
    """A child's part of `environ`: the usual variables, `names`, and those with `prefixes` that name no credential."""
    starts = _PREFIXES + prefixes
    return {
        name: value
        for name, value in environ.items()
        if (name in _NAMES or name in names or (name.startswith(starts) and not SECRET_NAME.search(name)))
        # An exported shell function ("() { …") is code.
        and not value.startswith("()")
        and not vault.found_in(value)
    }


def python_environment(environ: Mapping[str, str], prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """The environment of a child that runs this package with this interpreter; otherwise like `inherited`."""
    return {**inherited(environ, _PYTHON, ("PYTHON", *prefixes)), **import_path(environ)}


class _Output(asyncio.Protocol):
    """Passes on what comes out of one pipe, and its end."""

    def __init__(self, data: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._data = data
        self._end = end

    def data_received(self, data: bytes) -> None:
        self._data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()


class _Input(asyncio.BaseProtocol):
    """Sets `writable` to the state of the pipe; a closed pipe counts as writable, so that nobody waits for it."""

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
    """A running child: its pipes as transports, and its exit."""

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
        """Start `command`, found on the PATH of `env`, in a new session. Raises OSError if it cannot run.

        `stdout` and `stderr` are called with data, and at the end.
        """
        # In a thread: finding and starting the command waits for the disk.
        starting = asyncio.get_running_loop().run_in_executor(None, _popen, command, args, env, cwd)
        try:
            popen = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_end_unwanted)  # the thread continues, and its child would be lost
            await asyncio.wait({starting})
            raise
        child = cls(popen)
        child._watch_exit()
        try:
            await child._connect(stdout, stderr)
        except BaseException:
            popen.kill()
            popen.wait()  # after SIGKILL this takes no time
            raise
        return child

    async def _connect(
        self,
        stdout: tuple[Callable[[bytes], None], Callable[[], None]],
        stderr: tuple[Callable[[bytes], None], Callable[[], None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.stdin, _ = await loop.connect_write_pipe(lambda: self._input, _handed_over(self._popen.stdin))
        self.stdout, _ = await loop.connect_read_pipe(lambda: _Output(*stdout), _handed_over(self._popen.stdout))
        self.stderr, _ = await loop.connect_read_pipe(lambda: _Output(*stderr), _handed_over(self._popen.stderr))

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: a signal), None while it runs."""
        return self._popen.returncode

    @property
    def writable(self) -> asyncio.Event:
        """Set while stdin accepts more."""
        return self._input.writable

    def close(self) -> None:
        """Close the pipes of a child that has ended."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or older than 5.3
            spawn(self._wait_in_thread(), name=f"wait for child {self.pid}")
            return
        loop.add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self._popen.wait()  # it has ended: this returns at once
        self.exited.set()

    async def _wait_in_thread(self) -> None:
        await asyncio.to_thread(self._popen.wait)
        self.exited.set()


def _handed_over(pipe: IO[bytes] | None) -> IO[bytes]:
    """`pipe` in the form that the event loop needs.

    uvloop (0.23) closes a pipe's descriptor and then the object that it was given, which closes the descriptor again,
    when a thread may already have reused the number. So it gets an object that closes nothing.
    """
    assert pipe is not None
    if type(asyncio.get_running_loop()).__module__ != "uvloop":
        return pipe
    with pipe:
        return io.FileIO(os.dup(pipe.fileno()), pipe.mode, closefd=False)


def _end_unwanted(started: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    """Kill and reap a child, with its group, that came up after its start was cancelled."""
    if started.cancelled() or started.exception() is not None:
        return
    with started.result() as popen:  # leaving it closes the pipes and waits, which takes no time after SIGKILL
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


class StderrTail:
    """Logs what a child writes to stderr, and keeps the last lines for the status page.

    Each chunk is scanned once, whatever it contains. `owner` is what the log calls the child.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._partial = b""
        self._budget = float(_BURST)
        self._refilled = time.monotonic()

    def feed(self, data: bytes) -> None:
        """Take a chunk."""
        pieces = (self._partial + data).rsplit(b"\n", KEPT_LINES + 1)
        self._partial = pieces.pop()[-LINE_LENGTH * 4 :]
        if len(pieces) > KEPT_LINES:
            del pieces[0]  # everything before the lines to keep
        for piece in pieces:
            self._keep(piece)

    def flush(self) -> None:
        """Log an unfinished last line: the child has gone."""
        if self._partial:
            self._keep(self._partial)
            self._partial = b""

    def text(self) -> str:
        """The last lines, without secrets."""
        return "\n".join(self._lines)

    def last_line(self) -> str:
        """The last line that is not empty, or ""."""
        return next((line for line in reversed(self._lines) if line.strip()), "")

    def _keep(self, piece: bytes) -> None:
        text = piece[: LINE_LENGTH * 4].decode("utf-8", "replace").rstrip()
        line = vault.scrub("".join(c if c.isprintable() or c == "\t" else "�" for c in text[:LINE_LENGTH]))
        self._lines.append(line)
        now = time.monotonic()
        self._budget = min(_BURST, self._budget + (now - self._refilled) * _PER_SECOND)
        self._refilled = now
        if self._budget >= 1:
            self._budget -= 1
            log.debug("%s: %s", self._owner, line)
