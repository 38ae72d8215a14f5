"""Messages to the service manager, received on a real datagram socket."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openai_proxy import tasks
from openai_proxy.runtime.systemd import VARIABLES, ServiceManager
from tests.harness.service_manager import Manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@openai-proxy-test-{os.getpid()}"
    manager = Manager(name)
    yield manager
    manager.sock.close()


def test_ready_reloading_and_stopping_are_sent_as_systemd_defines_them(manager: Manager) -> None:
    systemd = ServiceManager.take({"NOTIFY_SOCKET": manager.name})
    before = time.monotonic_ns() // 1000

    assert systemd.ready("serving on port 8000")
    assert manager.next_message() == {"READY": "1", "STATUS": "serving on port 8000"}

    assert systemd.reloading()
    message = manager.next_message()
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000

    assert systemd.stopping(30)
    assert manager.next_message() == {"STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": "30000000"}


def test_a_newline_in_a_status_cannot_forge_a_field(manager: Manager) -> None:
    ServiceManager.take({"NOTIFY_SOCKET": manager.name}).ready("broken\nSTOPPING=1\r\nRELOADING=1")
    assert manager.next_message() == {"READY": "1", "STATUS": "broken STOPPING=1 RELOADING=1"}


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/at/all", "@nobody-listens-here", "/" + "x" * 300])
def test_a_missing_manager_is_not_an_error(address: str) -> None:
    assert ServiceManager.take({"NOTIFY_SOCKET": address}).ready("serving") is False


def test_a_manager_that_does_not_read_does_not_block(manager: Manager) -> None:
    systemd = ServiceManager.take({"NOTIFY_SOCKET": manager.name})
    answers = [systemd.notify(WATCHDOG=1) for _ in range(20_000)]  # far past net.unix.max_dgram_qlen
    assert answers[0] is True
    assert answers[-1] is False


def test_take_removes_the_variables_that_children_must_not_see() -> None:
    environ = dict.fromkeys(VARIABLES, "1") | {"HOME": "/root"}
    ServiceManager.take(environ)
    assert environ == {"HOME": "/root"}


def test_the_watchdog_interval_is_read_in_seconds() -> None:
    assert ServiceManager.take({"WATCHDOG_USEC": "30000000"}).watchdog == 30
    assert ServiceManager.take({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}).watchdog == 0.5


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}],
)
def test_without_a_watchdog_there_is_no_interval(environ: dict[str, str]) -> None:
    assert ServiceManager.take(environ).watchdog is None


def test_sockets_meant_for_another_process_are_not_ours() -> None:
    assert ServiceManager.take({"LISTEN_FDS": "2", "LISTEN_PID": "1"}).fds == ()
    assert ServiceManager.take({"LISTEN_FDS": "2"}).fds == ()
    assert ServiceManager.take({"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())}).fds == ()
    assert ServiceManager.take({"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}).fds == (3, 4)


def test_only_listening_sockets_are_used(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as plain, Path("/dev/null").open() as file:
        fds = (os.dup(listener.fileno()), plain.fileno(), file.fileno(), 999_999)
        (found,) = ServiceManager(fds=fds).sockets()
        with found:
            assert found.getsockname() == listener.getsockname()
            assert not found.get_inheritable()
            assert found.gettimeout() == 0
    assert len(caplog.records) == 3


def test_an_inherited_socket_serves_in_the_process_it_was_passed_to() -> None:
    script = (
        "import os\n"
        "from openai_proxy.runtime.systemd import ServiceManager\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "(sock,) = ServiceManager.take(os.environ).sockets()\n"
        "sock.setblocking(True)\n"
        "peer, _ = sock.accept()\n"
        "peer.sendall(b'hello from fd %d' % sock.fileno())\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        shell = f'exec 3<&{listener.fileno()}; exec "$0" -c "$1"'
        child = subprocess.Popen(
            ["bash", "-c", shell, sys.executable, script],
            env=os.environ | {"LISTEN_FDS": "1"},
            pass_fds=[listener.fileno()],
        )
        with socket.create_connection(listener.getsockname(), timeout=10) as client:
            assert client.recv(100) == b"hello from fd 3"
        assert child.wait(10) == 0


async def test_the_watchdog_is_fed_twice_in_each_interval(manager: Manager) -> None:
    systemd = ServiceManager(address=manager.name, watchdog=0.05)
    feeder = tasks.spawn(systemd.feed_watchdog(lambda: True), name="watchdog")
    for _ in range(4):
        assert await asyncio.to_thread(manager.next_message) == {"WATCHDOG": "1"}
    await tasks.cancel(feeder)


async def test_the_watchdog_starves_while_unhealthy_or_stuck(manager: Manager) -> None:
    systemd = ServiceManager(address=manager.name, watchdog=0.04)
    asked = asyncio.Event()

    def healthy() -> bool:
        asked.set()
        return False

    feeder = tasks.spawn(systemd.feed_watchdog(healthy), name="watchdog")
    await asyncio.wait_for(asked.wait(), 5)
    await tasks.cancel(feeder)
    manager.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.sock.recv(100)

    feeder = tasks.spawn(systemd.feed_watchdog(lambda: True), name="watchdog")
    await asyncio.sleep(0)
    assert manager.next_message() == {"WATCHDOG": "1"}
    time.sleep(0.2)  # the loop is stuck for five intervals ...
    await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):  # ... and the ping that was due meanwhile is not sent late
        manager.sock.recv(100)
    await tasks.cancel(feeder)


async def test_without_a_watchdog_the_feeder_ends_at_once() -> None:
    await asyncio.wait_for(ServiceManager().feed_watchdog(lambda: True), 5)
