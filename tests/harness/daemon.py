"""The real daemon as a child process, started the way its owner starts it and stopped the way systemd stops it."""

import atexit
import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Answer, Wire

REPOSITORY = Path(__file__).resolve().parents[2]
CANARY = "sk-canary-7f3e9a1c5b8d2046upstream"
"""The upstream key of every test daemon: must appear nowhere but in requests to the upstream."""

COMPLAINTS = ("Traceback (most recent call last)", "was never awaited", "Task was destroyed", "never retrieved")
"""Texts that a healthy daemon never writes to stderr, whatever happens."""


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 that the kernel assigns to no other socket meanwhile: it can only be bound by its number.

    Bound with SO_REUSEADDR and not listening, it is no obstacle to a server that sets the same (bind(2), socket(7)).
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


_HELD = contextlib.ExitStack()
atexit.register(_HELD.close)


def free_port() -> int:
    """An unused port of 127.0.0.1, held until this process ends so that no other test gets it."""
    return _HELD.enter_context(held_port())


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """True if connections are accepted there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Daemon:
    """One daemon with its own `conf/`, `logs/`, `state/` and `.env` below `root`.

    `conf` is `proxy.yaml`, as a mapping or as text; `files` are more files below `conf/`; `dotenv` is the `.env`.
    """

    def __init__(
        self,
        root: Path,
        conf: Mapping[str, Any] | str = "",
        *,
        files: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        dotenv: str = "",
        open_files: int | None = None,
        umask: int | None = None,
    ) -> None:
        self.root = root
        self.conf_dir, self.logs_dir, self.state_dir = root / "conf", root / "logs", root / "state"
        for folder in (self.conf_dir, self.logs_dir, self.state_dir, root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        self.flags = list(flags)
        self._env = dict(env or {})
        self._open_files = open_files
        self._umask = umask
        self._process: subprocess.Popen[bytes] | None = None
        self._wires: list[Wire] = []
        self.port = 0
        self.status: list[str] = []
        (root / ".env").write_text(dotenv)
        for name, text in (files or {}).items():
            self.write(name, text)
        if conf:
            self.write("proxy.yaml", conf)

    # Files

    def write(self, name: str, content: Mapping[str, Any] | str) -> None:
        """A file below `conf/`, replaced in one step, as careful editors do."""
        path = self.conf_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        with new.open("w") as out:
            if isinstance(content, str):
                out.write(content)
            else:
                yaml = YAML(typ="safe", pure=True)
                yaml.default_flow_style = False
                yaml.dump(dict(content), out)
        new.replace(path)

    def edit_conf(self, change: Callable[[dict[str, Any]], None], announce: Callable[[], None] | None = None) -> None:
        """Change `proxy.yaml` as its owner would, `announce` it if given, and wait until it is in service."""
        before = self.generation()
        path = self.conf_dir / "proxy.yaml"
        conf = YAML(typ="safe", pure=True).load(path.read_text())
        change(conf)
        self.write("proxy.yaml", conf)
        if announce is not None:
            announce()
        eventually(lambda: self.generation() > before, "the edit is in effect")

    def generation(self) -> int:
        """The number of the configuration in service."""
        with self.wire() as wire:
            return int(wire.request("GET", "/admin/status").answer(method="GET").json()["config"]["generation"])

    @property
    def stderr(self) -> str:
        """Everything written to stderr so far."""
        return (self.root / "stderr").read_text(errors="replace")

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """Every record of every chat log, file by file."""
        for path in sorted(self.logs_dir.rglob("*.jsonl")):
            *whole, _ = path.read_text().split("\n")  # what follows the last line feed is still being written
            yield from map(json.loads, whole)

    # Life

    @contextlib.contextmanager
    def serving(self, *, leaks: bool = True) -> Iterator["Daemon"]:
        """Started, and stopped properly at the end; with `leaks` nothing may be left open then."""
        self.start()
        try:
            yield self
            if leaks:
                self.assert_nothing_leaked()
            self.stop()
        finally:
            self.kill()

    def start(self, *, timeout: float = PATIENCE) -> "Daemon":
        """Run it and wait until it sends READY=1 to its notify socket, or accepts connections."""
        notify_path = self.root / "notify"
        with held_port() as self.port, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify_path.unlink(missing_ok=True)
            notify.bind(str(notify_path))
            notify.setblocking(False)
            self.launch({"NOTIFY_SOCKET": str(notify_path)})
            self._await_ready(notify, timeout)
        return self

    def command(self) -> list[str]:
        """The command line."""
        return [
            *(sys.executable, "-m", "openai_proxy", "serve", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--config-dir", str(self.conf_dir), "--logs-dir", str(self.logs_dir)),
            *("--state-dir", str(self.state_dir), "--env-file", str(self.root / ".env")),
            *self.flags,
        ]

    def launch(self, more_env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Run it without waiting for anything. It inherits PATH, and whether to run compiled or not."""
        environ = {
            **{name: os.environ[name] for name in ("PATH", "OPENAI_PROXY_INTERPRETED") if name in os.environ},
            "HOME": str(self.root),
            "TMPDIR": str(self.root / "tmp"),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONFAULTHANDLER": "1",  # a daemon that does not stop is ended by SIGABRT and prints its stack
            **self._env,
            **(more_env or {}),
        }
        limit, umask = self._open_files, self._umask

        def confine() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            if umask is not None:
                os.umask(umask)

        with (self.root / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.root,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                preexec_fn=confine,
            )
        return self._process

    def _await_ready(self, notify: socket.socket, timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            readable, _, _ = select.select([notify], [], [], 0.05)
            if readable:
                self.status += notify.recv(4096).decode().split("\n")
                if "READY=1" in self.status:
                    return
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}: {self.stderr}"
        raise AssertionError(f"not ready within {timeout} s: {self.stderr}")

    def running(self) -> bool:
        """True if it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The child."""
        assert self._process is not None, "not started"
        return self._process

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self, *, timeout: float = PATIENCE) -> None:
        """Send SIGTERM; it must exit with 0, end its children, and have logged nothing unusual."""
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.close_wires()
        self.signal(signal.SIGTERM)
        try:
            code = self.exit_code(timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(PATIENCE)
            raise AssertionError(f"did not stop within {timeout} s: {self.stderr[-4000:]}") from None
        assert code == 0, f"exit code {code}: {self.stderr[-4000:]}"
        eventually(lambda: not any(map(_lives, children)), f"every child has ended: {children}")
        self.assert_quiet()

    def exit_code(self, timeout: float = PATIENCE) -> int:
        """Its exit code, as soon as it ends; subprocess.TimeoutExpired if it does not."""
        if self.process.returncode is None:
            handle = os.pidfd_open(self.process.pid)  # Popen.wait with a timeout looks only every 50 ms
            try:
                select.select([handle], [], [], timeout)
            finally:
                os.close(handle)
        return self.process.wait(0)

    def kill(self) -> None:
        """Kill it if it is still running; for teardown after a failure."""
        self.close_wires()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def assert_quiet(self) -> None:
        """Check that the daemon wrote no traceback, no lost task and no key."""
        text = self.stderr
        for complaint in COMPLAINTS:
            assert complaint not in text, text[-6000:]
        for path in (p for p in self.root.rglob("*") if p.is_file() and p.name not in {"proxy.yaml", ".env"}):
            assert CANARY.encode() not in path.read_bytes(), f"the upstream key was written to {path}"

    # Talking

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        """The API's root."""
        return f"http://127.0.0.1:{self.port}/v1"

    def wire(self, *, timeout: float = PATIENCE, receive_buffer: int = 0) -> Wire:
        """A new connection, closed when the daemon stops, if not before."""
        wire = Wire(self.address, timeout=timeout, receive_buffer=receive_buffer).watch_for(CANARY.encode())
        self._wires.append(wire)
        return wire

    def control_wire(self) -> Wire:
        """A new connection to the control socket, where an admin needs no key."""
        wire = Wire(str(self.state_dir / "control.sock")).watch_for(CANARY.encode())
        self._wires.append(wire)
        return wire

    def control(self, method: str, target: str, document: Any = None) -> Answer:
        """One request over the control socket, with a JSON body if given."""
        body = None if document is None else json.dumps(document).encode()
        with self.control_wire() as wire:
            return wire.request(method, target, body=body).answer(method=method)

    def get(self, target: str, **options: Any) -> Answer:
        """One GET on a connection of its own."""
        with self.wire() as wire:
            return wire.request("GET", target, **options).answer(method="GET")

    def chat(self, model: str, **options: Any) -> Answer:
        """One small chat on a connection of its own."""
        with self.wire() as wire:
            return wire.chat(model, **options).answer()

    def post(self, target: str, body: bytes, **options: Any) -> Answer:
        """One POST on a connection of its own."""
        with self.wire() as wire:
            return wire.request("POST", target, body=body, **options).answer()

    def close_wires(self) -> None:
        """Close every client connection."""
        while self._wires:
            self._wires.pop().close()

    # Looking

    def rss(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def clients(self) -> int:
        """Client connections that the daemon still has, according to the kernel."""
        connections = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(c.laddr.port == self.port and c.status != psutil.CONN_LISTEN for c in connections)

    def open_sockets(self) -> int:
        """How many sockets it has open; log files are kept open on purpose and not counted."""
        count = 0
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed after it was listed
                count += str(entry.readlink()).startswith("socket:")
        return count

    def children(self) -> list[psutil.Process]:
        """Its child processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def assert_nothing_leaked(self) -> None:
        """Disconnect every client, then check that no connection and no child is left."""
        self.close_wires()
        eventually(lambda: self.clients() == 0, "client connections are closed")
        eventually(lambda: self.children() == [], "no child is left")
