"""One child process, seen from the daemon: lines in, events out, and an end that is certain."""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from openai_proxy.children import inherited
from openai_proxy.errors import UpstreamDisconnected
from openai_proxy.secrets import vault
from openai_proxy.tasks import cancel, spawn

log = logging.getLogger(__name__)

_LINE: Final = 16 << 20  # bytes one event may have
_AHEAD: Final = 64  # events read before anybody wants them; then the pipe holds the child back
_GRACE: Final = 2.0  # seconds between a polite end and the other kind

_NAMES: Final = frozenset({"LD_LIBRARY_PATH", "VIRTUAL_ENV"})
_PREFIXES: Final = (
    *("HF_", "TRANSFORMERS_", "SAFETENSORS_", "TORCH", "PYTORCH_", "PYTHON"),
    *("CUDA", "NVIDIA_", "NCCL_", "ROCM_", "ROCR_", "HIP_", "HSA_"),
    *("OMP_", "MKL_", "OPENBLAS_", "KMP_"),
)


def worker_command(*arguments: str) -> list[str]:
    """The command line of a worker with this interpreter."""
    return [sys.executable, "-m", "openai_proxy.upstream.local", *arguments]


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker inherits of `environ`: what Python, accelerators and model libraries ask for, and no key of ours.

    A model directory may bring code, and a callable may be anybody's.
    """
    paths = [str(Path(__file__).parents[3]), *filter(None, [environ.get("PYTHONPATH")])]
    return {
        **inherited(environ, _NAMES, _PREFIXES),
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",  # a model directory is all there is; a missing file must not become a download
        "TOKENIZERS_PARALLELISM": "false",
    }


class WorkerProcess:
    """A running child. `events` gives what it says; None stands for its end."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._over = False
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_AHEAD)
        self._tasks = [
            spawn(self._read(), name=f"events of {name}"),
            spawn(self._listen(), name=f"stderr of {name}"),
        ]

    @classmethod
    async def start(cls, command: Sequence[str], name: str) -> "WorkerProcess":
        """Start `command`. Raises UpstreamDisconnected if that cannot be done."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=worker_environment(os.environ),
                limit=_LINE,
                start_new_session=True,  # Ctrl-C at the terminal is the daemon's to handle
            )
        except OSError as error:
            log.error("local model %s: the worker did not start: %s", name, error.strerror)
            raise UpstreamDisconnected("The local model could not be started.") from None
        return cls(process, name)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._process.returncode is None and not self._over

    async def send(self, message: dict[str, Any]) -> None:
        """Write one line. Raises UpstreamDisconnected if the child has ended."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(orjson.dumps(message) + b"\n")
            await stdin.drain()
        except (OSError, RuntimeError):
            raise UpstreamDisconnected("The local model ended unexpectedly.") from None

    async def end(self) -> None:
        """Make it end: close its stdin, then kill it. Idempotent."""
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
        tasks, self._tasks = self._tasks, []
        await cancel(*tasks)
        try:
            await asyncio.wait_for(self._process.wait(), _GRACE)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End it now."""
        self._over = True
        if self._process.returncode is None:
            try:
                self._process.kill()
            except ProcessLookupError:
                return  # it was faster

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while line := await stdout.readline():
                event = orjson.loads(line)
                if isinstance(event, dict):
                    await self.events.put(event)
        except (ValueError, OSError) as error:  # a line too long, or no JSON: it cannot be trusted any more
            log.error("local model %s: the worker speaks nonsense: %s", self._name, type(error).__name__)
            self.kill()
        self._over = True
        await self.events.put(None)

    async def _listen(self) -> None:
        """What libraries print goes to the log, scrubbed."""
        stderr = self._process.stderr
        assert stderr is not None
        try:
            while line := await stderr.readline():
                text = vault.scrub(line.decode(errors="replace").rstrip()[:2000])
                log.debug("local model %s: %s", self._name, text)
        except (ValueError, OSError):
            return  # a line without end: nobody reads on, and the child's stderr is closed with it
