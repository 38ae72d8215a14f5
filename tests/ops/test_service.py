"""The real daemon under a service manager: what it reports, and sockets that outlive it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY, free_port
from tests.harness.waiting import eventually

ECHO = "connections: {offline: {api_type: echo}}\n"
PATIENCE = 20.0


class Manager:
    """The socket of a service manager, and all it was told."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "manager")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.settimeout(PATIENCE)

    def next_of(self, name: str) -> dict[str, str]:
        """The next message that has the field `name`."""
        while True:
            message = dict(line.split("=", 1) for line in self.sock.recv(4096).decode().split("\n"))
            if name in message:
                return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.sock.close()


def test_a_life_as_the_service_manager_hears_it(make_daemon: DaemonFactory, manager: Manager) -> None:
    daemon = make_daemon(ECHO, start=False)
    daemon.port = free_port()
    daemon.launch({"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"})

    assert manager.next_of("READY")["STATUS"].startswith("serving")
    with socket.create_connection(daemon.address, timeout=5):
        pass  # READY is said only when connections are taken
    for _ in range(3):
        assert manager.next_of("WATCHDOG") == {"WATCHDOG": "1"}

    daemon.signal(signal.SIGHUP)
    assert int(manager.next_of("RELOADING")["MONOTONIC_USEC"]) > 0
    manager.next_of("READY")

    daemon.write("proxy.yaml", "connections: [nonsense\n")
    daemon.signal(signal.SIGHUP)
    manager.next_of("RELOADING")
    assert "problem" in manager.next_of("READY")["STATUS"]
    assert daemon.chat("echo").status == 200

    daemon.signal(signal.SIGTERM)
    manager.next_of("STOPPING")
    assert daemon.process.wait(PATIENCE) == 0


def activated(command: list[str], listener: socket.socket, environ: dict[str, str]) -> list[str]:
    """`command`, started with `listener` as its descriptor 3 and LISTEN_PID its own process id."""
    listener.set_inheritable(True)
    environ["LISTEN_FDS"] = "1"
    script = f'exec 3<&{listener.fileno()}; export LISTEN_PID=$$; exec "$@"'
    return ["bash", "-c", script, "bash", *command]


def test_a_restart_behind_the_socket_unit_refuses_nobody(make_daemon: DaemonFactory) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = listener.getsockname()[1]
    daemon = make_daemon(ECHO, start=False)
    daemon.port = port
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = activated(daemon.command(), listener, environ)
    environ["PYTHONPATH"] = str(REPOSITORY)

    def start() -> subprocess.Popen[bytes]:
        with (daemon.root / "stderr").open("ab") as stderr:
            return subprocess.Popen(
                command, cwd=daemon.root, env=environ, pass_fds=[listener.fileno()], stdout=stderr, stderr=stderr
            )

    failures: list[str] = []
    answered = 0
    stop = threading.Event()

    def knock() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
                    client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    head = client.recv(4096)
                if head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")):
                    answered += 1
                else:
                    failures.append(repr(head[:80]))
            except OSError as error:
                failures.append(repr(error))

    process = start()
    client = threading.Thread(target=knock)
    client.start()
    try:
        eventually(lambda: answered > 10, "the first daemon answers")
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            process = start()
            before = answered
            eventually(lambda before=before: answered > before + 10, "the next daemon answers")
    finally:
        stop.set()
        client.join(PATIENCE)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        listener.close()
    assert failures == []


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed")
def test_systemd_itself_hands_us_the_socket(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, start=False)
    daemon.port = free_port()
    passed = [f"--setenv={name}={value}" for name, value in {"PYTHONPATH": str(REPOSITORY), "HOME": "/tmp"}.items()]
    serve = daemon.command()
    at = serve.index("--port")
    del serve[at : at + 2]  # the address is the socket's
    tool = ["systemd-socket-activate", f"--listen=127.0.0.1:{daemon.port}", *passed, *serve]
    with (daemon.root / "stderr").open("ab") as stderr:
        daemon._process = subprocess.Popen(tool, cwd=daemon.root, stdout=stderr, stderr=stderr)
    eventually(lambda: "Listening on" in daemon.stderr, "systemd listens")
    assert daemon.get("/health").status == 200
    assert daemon.chat("echo").status == 200
    daemon.stop()


def test_the_service_starts_with_an_empty_environment(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, start=False)
    daemon.port = free_port()
    command = ["env", "-i", f"PYTHONPATH={REPOSITORY}", f"HOME={daemon.root}", *daemon.command()]
    with (daemon.root / "stderr").open("ab") as stderr:
        daemon._process = subprocess.Popen(command, cwd="/", stdout=stderr, stderr=stderr)
    eventually(lambda: "serving on" in daemon.stderr, "it serves")
    assert daemon.get("/v1/models").status == 200
    daemon.stop()
    assert sys.executable in command
