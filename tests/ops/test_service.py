"""The real daemon under a service manager: its reports, and sockets that outlive it."""

import shutil
import signal
import socket
import subprocess
import sys

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY, free_port
from tests.harness.service_manager import Manager
from tests.harness.waiting import PATIENCE, eventually

ECHO = "connections: {offline: {api_type: echo}}\n"


def test_the_reports_of_one_run(make_daemon: DaemonFactory, manager: Manager) -> None:
    daemon = make_daemon(ECHO, start=False)
    daemon.port = free_port()
    daemon.launch({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000"})

    assert manager.next_of("READY")["STATUS"].startswith("serving")
    with socket.create_connection(daemon.address, timeout=PATIENCE):
        pass  # READY is only sent once connections are accepted
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
def test_systemd_itself_passes_the_socket(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, start=False)
    daemon.port = free_port()
    passed = [f"--setenv={name}={value}" for name, value in {"PYTHONPATH": str(REPOSITORY), "HOME": "/tmp"}.items()]
    serve = daemon.command()
    at = serve.index("--port")
    del serve[at : at + 2]  # the address is the socket's
    tool = ["systemd-socket-activate", f"--listen=127.0.0.1:{daemon.port}", *passed, *serve]
    with (daemon.root / "stderr").open("ab") as stderr:
        daemon._process = subprocess.Popen(tool, cwd=daemon.root, stdout=stderr, stderr=stderr)
    eventually(lambda: "Listening on" in daemon.stderr, "systemd-socket-activate listens")
    assert daemon.get("/health").status == 200
    assert daemon.chat("echo").status == 200
    daemon.stop()


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed")
def test_a_client_of_a_socket_for_both_families_is_named_by_its_ipv4_address(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, start=False)
    daemon.port = free_port()
    serve = daemon.command()
    at = serve.index("--port")
    del serve[at : at + 2]
    passed = [f"--setenv={name}={value}" for name, value in {"PYTHONPATH": str(REPOSITORY), "HOME": "/tmp"}.items()]
    with (daemon.root / "stderr").open("ab") as stderr:
        tool = ["systemd-socket-activate", f"--listen=[::]:{daemon.port}", *passed, *serve]
        daemon._process = subprocess.Popen(tool, cwd=daemon.root, stdout=stderr, stderr=stderr)
    eventually(lambda: "Listening on" in daemon.stderr, "systemd-socket-activate listens")
    assert daemon.chat("echo").status == 200
    eventually(lambda: "echo → " in daemon.stderr, f"the request is logged in {daemon.stderr}")
    assert "  127.0.0.1  echo" in daemon.stderr or " 127.0.0.1 " in daemon.stderr
    assert "::ffff:" not in daemon.stderr
    daemon.stop()


def test_the_service_starts_with_an_empty_environment(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, start=False)
    daemon.port = free_port()
    command = ["env", "-i", f"PYTHONPATH={REPOSITORY}", f"HOME={daemon.root}", *daemon.command()]
    with (daemon.root / "stderr").open("ab") as stderr:
        daemon._process = subprocess.Popen(command, cwd="/", stdout=stderr, stderr=stderr)
    eventually(lambda: "serving on" in daemon.stderr, "the daemon serves")
    assert daemon.get("/v1/models").status == 200
    daemon.stop()
    assert sys.executable in command
