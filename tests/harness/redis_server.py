"""A real Redis (or Valkey) for tests: on its own port, in its own directory, without persistence."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness.daemon import held_port, listens
from tests.harness.waiting import PATIENCE, eventually

SERVERS = {name: shutil.which(name) for name in ("redis-server", "valkey-server")}
PROGRAM = os.environ.get("REDIS_SERVER") or SERVERS["valkey-server"] or SERVERS["redis-server"]
"""The program that the tests use; `REDIS_SERVER` selects another one."""

needs_redis = pytest.mark.skipif(PROGRAM is None, reason="neither redis-server nor valkey-server is installed")


class RedisServer:
    """Started by `start`, ended by `stop` (SIGTERM) or `kill` (SIGKILL); the port stays the same."""

    def __init__(self, folder: Path, *options: str, program: str | None = PROGRAM) -> None:
        self._program = program
        self._folder = folder
        self._options = options
        self._holder = held_port()
        self.port = self._holder.__enter__()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's address for `storage`."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> "RedisServer":
        """Run it, with further command-line options."""
        assert self._program is not None
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self._folder), *self._options, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: listens(self.port), "redis listens")
        return self

    def ask(self, *words: str) -> bytes:
        """One command on a connection of its own, and the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as link:
            parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
            link.sendall(b"*%d\r\n%s" % (len(words), b"".join(parts)))
            return link.recv(65536)

    def kill(self) -> None:
        """Kill it; its data is lost."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it properly."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it hang: it accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """Stop it if it is still running, and release its port."""
        self._end(signal.SIGKILL)
        self._holder.__exit__(None, None, None)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE)
