"""A real Redis (or Valkey) for tests: on a port of its own, in a directory of its own, without a disk."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness.daemon import held_port
from tests.harness.waiting import PATIENCE, eventually

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")

needs_redis = pytest.mark.skipif(PROGRAM is None, reason="neither redis-server nor valkey-server is installed")


class RedisServer:
    """Started by `start`, ended by `stop` (SIGTERM) or `kill` (SIGKILL); the port stays the same."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._holder = held_port()
        self.port = self._holder.__enter__()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address for `storage`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> "RedisServer":
        """Run it, with further command-line options."""
        assert PROGRAM is not None
        command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self._folder), *self._options, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self.answers, "redis listens")
        return self

    def answers(self) -> bool:
        """True once it takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, *words: str) -> bytes:
        """One command on a connection of its own, and the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as link:
            parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
            link.sendall(b"*%d\r\n%s" % (len(words), b"".join(parts)))
            return link.recv(65536)

    def kill(self) -> None:
        """End it at once, with all it held."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it hang: it takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """End it if it still runs, and give its port back."""
        self._end(signal.SIGKILL)
        self._holder.__exit__(None, None, None)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE)
