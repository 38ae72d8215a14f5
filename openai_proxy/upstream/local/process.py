"""One child process, seen from the daemon: lines in, events out, and a guaranteed end."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from openai_proxy.children import Child, StderrTail, python_environment
from openai_proxy.errors import UpstreamDisconnected
from openai_proxy.tasks import cancel, spawn

log = logging.getLogger(__name__)

_LINE: Final = 16 << 20  # maximum bytes of one event
_AHEAD: Final = 64  # events read ahead; then the pipe blocks the child
_GRACE: Final = 2.0  # seconds to exit in before it is killed

_PREFIXES: Final = (
    *("HF_", "TRANSFORMERS_", "SAFETENSORS_", "TORCH", "PYTORCH_"),
    *("CUDA", "NVIDIA_", "NCCL_", "ROCM_", "ROCR_", "HIP_", "HSA_"),
    *("OMP_", "MKL_", "OPENBLAS_", "KMP_"),
)


def worker_command(*arguments: str) -> list[str]:
    """The command line of a worker with this interpreter."""
    return [sys.executable, "-m", "openai_proxy.upstream.local", *arguments]


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that a worker inherits: for Python, accelerators and model libraries, but no keys of ours.

    A model directory may contain code, and a callable may come from anyone.
    """
    return {
        **python_environment(environ, _PREFIXES),
        "HF_HUB_OFFLINE": "1",  # the model directory must be complete; a missing file must not become a download
        "TOKENIZERS_PARALLELISM": "false",
    }


class WorkerProcess:
    """A running child. `events` yields its events; None is its end."""

    def __init__(self, child: Child, output: asyncio.StreamReader, name: str) -> None:
        self._child = child
        self._output = output
        self._name = name
        self._over = False
        self._killed = False
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_AHEAD)
        self._reading = spawn(self._read(), name=f"events of {name}")

    @classmethod
    async def start(cls, command: Sequence[str], name: str) -> "WorkerProcess":
        """Start `command`. Raises UpstreamDisconnected if that fails."""
        output = asyncio.StreamReader(_LINE)
        stderr = StderrTail(f"local model {name}")
        try:
            child = await Child.start(
                command[0], command[1:], worker_environment(os.environ), None,
                stdout=(output.feed_data, output.feed_eof), stderr=(stderr.feed, stderr.flush),
            )  # fmt: skip
        except OSError as error:
            log.error("local model %s: the worker did not start: %s", name, error.strerror)
            raise UpstreamDisconnected("The local model could not be started.") from None
        assert child.stdout is not None
        output.set_transport(child.stdout)  # it pauses a child that sends more than is being read
        return cls(child, output, name)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it still accepts requests."""
        return not self._child.exited.is_set() and not self._over

    async def send(self, message: dict[str, Any]) -> None:
        """Write one line. Raises UpstreamDisconnected if the child has ended."""
        stdin = self._child.stdin
        if stdin is None or stdin.is_closing():
            raise UpstreamDisconnected("The local model ended unexpectedly.")
        stdin.write(orjson.dumps(message) + b"\n")
        await self._child.writable.wait()

    async def end(self) -> None:
        """End it and its descendants: close its stdin, then kill it. Idempotent."""
        stdin = self._child.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.close()
        await cancel(self._reading)
        try:
            async with asyncio.timeout(_GRACE):
                await self._child.exited.wait()
        except TimeoutError:
            pass
        self.kill()
        await self._child.exited.wait()
        self._child.close()

    def kill(self) -> None:
        """Kill it and its descendants now. Only once: later its id may be that of another process."""
        self._over = True
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    async def _read(self) -> None:
        try:
            while line := await self._output.readline():
                event = orjson.loads(line)
                if isinstance(event, dict):
                    await self.events.put(event)
        except ValueError as error:  # an overlong line, or invalid JSON: it can no longer be trusted
            log.error(
                "local model %s: the worker sent something that cannot be read: %s", self._name, type(error).__name__
            )
        self.kill()
        await self.events.put(None)
