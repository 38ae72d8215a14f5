"""The real daemon under a service manager: what it reports, and sockets that outlive it."""

import shutil
import signal
import socket
import subprocess
import sys
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
