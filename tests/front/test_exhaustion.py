"""Running out of file descriptors: requests are refused or queued, without a flood of log lines."""

from collections.abc import Callable

import pytest

from tests.front.configurations import WAYS, front_conf
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Closed, Wire


def alive(daemon: Daemon) -> bool:
    try:
        with Wire(daemon.address) as wire:
            return wire.request("GET", "/health").answer(method="GET").status == 200
    except (Closed, OSError, AssertionError):
        return False


def test_sixty_four_files_and_a_hundred_clients(
    make_daemon: Callable[..., Daemon], upstream: Upstream, way: str
) -> None:
    daemon = make_daemon(front_conf(upstream), flags=WAYS[way], open_files=64)
    assert alive(daemon)
    before = len(daemon.stderr)
    wires = []
    for _ in range(100):
        try:
            wires.append(daemon.wire())
        except (ConnectionError, TimeoutError):
            continue  # the connection may be refused
    for wire in wires:
        wire.try_send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answered = 0
    for wire in wires[:10]:
        try:
            answered += wire.answer(method="GET").status in {200, 503}
        except (Closed, OSError):
            continue
    assert answered, "none of the first ten clients was answered"
    daemon.close_wires()
    eventually(lambda: alive(daemon), "the daemon serves again once descriptors are free")
    assert daemon.chat(upstream.play(plain(b"{}")).model).status == 200
    assert len(daemon.stderr) - before < 20_000, "the log was flooded"


def test_a_port_in_use_is_one_line(make_daemon: Callable[..., Daemon], upstream: Upstream) -> None:
    first = make_daemon(front_conf(upstream))
    second = make_daemon(front_conf(upstream), start=False)
    second.port = first.port
    assert second.launch().wait(PATIENCE) == 1
    lines = second.stderr.strip().splitlines()
    assert "Traceback" not in second.stderr
    assert f"port {first.port}: the port is in use; another: --port" in lines[-1]
    assert alive(first)


@pytest.mark.parametrize("text", ["connections: [", "hosst: x\n", "session_ttl: soon\n"], ids=["syntax", "key", "type"])
def test_a_broken_file_at_start_is_one_line_per_problem(make_daemon: Callable[..., Daemon], text: str) -> None:
    daemon = make_daemon(text, start=False)
    daemon.port = 1
    assert daemon.launch().wait(PATIENCE) == 1
    assert "proxy.yaml:1:" in daemon.stderr
    assert "Traceback" not in daemon.stderr
