"""Reloads as the service manager sees and starts them."""

import signal
import time

from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY
from tests.harness.service_manager import Manager
from tests.harness.waiting import PATIENCE, eventually
from tests.reload.conftest import ECHO
from tests.reload.looking import model, models, reload


def test_every_reload_is_reported_at_start_and_end(make_daemon: DaemonFactory, manager: Manager) -> None:
    daemon = make_daemon(ECHO, start=False)
    assert manager.start(daemon)["STATUS"] == "serving configuration 1"

    def asked_by(ask: object) -> dict[str, str]:
        requested = time.monotonic_ns() // 1000
        assert callable(ask)
        ask()
        begun = manager.next_of("RELOADING")
        assert requested <= int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        return manager.next_of("READY")

    assert asked_by(lambda: daemon.signal(signal.SIGHUP))["STATUS"] == "serving configuration 1"
    daemon.write("models/m.yaml", model("m", "me"))
    manager.next_of("RELOADING")  # not requested: the watcher noticed it
    assert manager.next_of("READY")["STATUS"] == "serving configuration 2"
    assert asked_by(lambda: reload(daemon))["STATUS"] == "serving configuration 2"


def test_a_refused_reload_ends_with_ready_and_the_reason(make_daemon: DaemonFactory, manager: Manager) -> None:
    daemon = make_daemon(ECHO, start=False)
    manager.start(daemon)
    path = daemon.conf_dir / "proxy.yaml"
    sound = path.read_text()
    daemon.write("proxy.yaml", "connections: [\n")
    manager.next_of("RELOADING")
    status = manager.next_of("READY")["STATUS"]
    assert status.startswith(f"serving configuration 2, 1 problem: {path}:1:14: the [ that opens here")
    assert daemon.chat("echo").status == 200
    daemon.signal(signal.SIGHUP)
    manager.next_of("RELOADING")
    assert manager.next_of("READY")["STATUS"] == status
    daemon.write("proxy.yaml", sound)
    manager.next_of("RELOADING")
    assert manager.next_of("READY")["STATUS"] == "serving configuration 3"


def test_the_unit_reloads_with_a_command_that_waits_and_can_fail() -> None:
    unit = (REPOSITORY / "systemd" / "openai-proxy.service").read_text()
    (line,) = (line for line in unit.splitlines() if line.startswith("ExecReload="))
    assert " -m openai_proxy reload --state-dir ${STATE_DIRECTORY}" in line


def test_the_watchdog_is_fed_while_a_tool_blocks_its_thread(make_daemon: DaemonFactory, manager: Manager) -> None:
    """The owner's code may call time.sleep: it runs beside the loop, which keeps running."""
    files = {
        "models/m.yaml": "name: m\ntools: [nap]\n",
        "tools/nap.py": "import os\nimport time\nfrom openai_proxy import tool\n\n"
        '@tool\ndef nap() -> str:\n    "Sleep."\n'
        '    while not os.path.exists("alarm"):\n        time.sleep(0.01)\n    return "rested"\n',
    }
    daemon = make_daemon(ECHO, files=files, start=False)
    manager.start(daemon, WATCHDOG_USEC="200000")
    with daemon.wire() as wire:
        wire.chat("m", messages=[{"role": "user", "content": "use nap"}])
        eventually(lambda: daemon.get("/admin/status").json()["requests"], "the tool runs")
        manager.sock.setblocking(False)
        try:
            while True:
                manager.sock.recv(8192)
        except BlockingIOError:
            manager.sock.settimeout(PATIENCE)
        for _ in range(3):
            assert manager.next_of("WATCHDOG")
        assert daemon.get("/admin/status").json()["requests"], "the tool ended too early"
        (daemon.root / "alarm").touch()
        assert b"rested" in wire.answer().body


def test_a_sighup_during_the_start_does_not_end_the_daemon(make_daemon: DaemonFactory, manager: Manager) -> None:
    daemon = make_daemon(ECHO, start=False)
    manager.start(daemon)
    for _ in range(20):
        daemon.signal(signal.SIGHUP)
    manager.next_of("READY")
    daemon.write("models/m.yaml", model("m", "me"))
    eventually(lambda: models(daemon).get("m") == "me", "the daemon serves the new model")
