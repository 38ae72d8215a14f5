"""GET /admin/events: events are reported as they happen, to all watchers."""

import json
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Wire
from tests.reload.conftest import ECHO
from tests.reload.looking import model, reload

FAULT = REPOSITORY / "tests" / "mcp" / "fault_server.py"


class Watching:
    """One watcher, speaking the raw protocol."""

    def __init__(self, wire: Wire, **options: Any) -> None:
        self.wire = wire
        self.head = wire.request("GET", "/admin/events", **options).read_head(method="GET")
        self._buffer = b""

    def next(self, kind: str) -> dict[str, Any]:
        """The next event of a kind; others are skipped."""
        while True:
            while b"\r\n\r\n" not in self._buffer:
                data = self.wire.read_some()
                assert data, f"the events ended before one of kind {kind}"
                self._buffer += data
            event, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in event.decode().split("\r\n") if not line.startswith(":"))
            if fields.get("event") == kind:
                found: dict[str, Any] = json.loads(fields["data"])
                return found


@pytest.fixture
def daemon(make_daemon: DaemonFactory, upstream: Upstream) -> Iterator[Daemon]:
    conf = {"connections": {"main": connection(upstream.url), **ECHO["connections"]}, "default_connection": "main"}
    return make_daemon(conf, files={"models/m.yaml": "name: m\nupstream_model: offline:echo\ntools: [calculator]\n"})


def test_a_watcher_sees_status_requests_tools_and_reloads(daemon: Daemon, upstream: Upstream) -> None:
    with daemon.control_wire() as wire:
        watching = Watching(wire)
        assert (watching.head.status, watching.head.header("content-type")) == (200, "text/event-stream")
        assert watching.next("status")["config"]["generation"] == 1
        play = upstream.play(plain(b"{}"))
        assert daemon.chat(play.model).status == 200
        begun, ended = watching.next("request"), watching.next("request")
        assert (begun["state"], ended["state"], begun["id"]) == ("begin", "end", ended["id"])
        assert (ended["model"], ended["status"], ended["outcome"]) == (play.model, 200, "done")
        content = 'use calculator {"expression": "6*7"}'
        assert b"42" in daemon.chat("m", messages=[{"role": "user", "content": content}]).body
        call = watching.next("tool_call")
        assert (call["tool"], call["status"]) == ("calculator", "ok")
        daemon.write("models/n.yaml", model("n", "me"))
        told = watching.next("reload")
        assert (told["changed"], told["generation"], told["added"]) == (True, 2, ["model n"])
        daemon.write("models/n.yaml", "name: n\nowend_by: me\n")
        told = watching.next("reload")
        assert [problem["line"] for problem in told["problems"]] == [2]


def test_a_watcher_sees_servers_come_and_go(daemon: Daemon) -> None:
    with daemon.control_wire() as wire:
        watching = Watching(wire)
        daemon.write("mcp/servers.yaml", {"servers": {"s": {"command": sys.executable, "args": [str(FAULT)]}}})
        states = [watching.next("mcp_server")["state"]]
        while states[-1] != "ready":
            states.append(watching.next("mcp_server")["state"])
        assert states[0] == "starting"


def test_a_request_that_fails_over_is_one_request(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """The fast path hands it to the pipeline: it begins once and ends once."""
    dead = connection("http://127.0.0.1:9/v1")
    conf = {
        "connections": {"dead": dead, "main": connection(upstream.url)},
        "routing": {"*": ["dead.*", "main.*"]},
    }
    daemon = make_daemon(conf)
    with daemon.control_wire() as wire:
        watching = Watching(wire)
        for _ in range(2):
            play = upstream.play(plain(b"{}"))
            assert daemon.chat(play.model).status == 200
            states = [watching.next("request") for _ in range(2)]
            assert [(s["state"], s["model"] in {None, play.model}) for s in states] == [("begin", True), ("end", True)]
            assert states[1]["connection"] == "main"


def test_a_watcher_that_disconnects_is_forgotten(daemon: Daemon) -> None:
    sockets = daemon.open_sockets()
    wires = [daemon.control_wire() for _ in range(5)]
    for wire in wires:
        Watching(wire).next("status")
    for wire in wires:
        wire.close()
    eventually(lambda: daemon.open_sockets() <= sockets, "the watchers' connections are closed")
    for _ in range(32):  # the maximum number: the five closed watchers must not count
        Watching(daemon.control_wire()).next("status")
    daemon.write("models/n.yaml", model("n", "me"))
    reload(daemon)
    with daemon.control_wire() as one_too_many:
        watching = Watching(one_too_many)
        watching.next("status")
        assert watching.wire.read_rest().complete


def test_the_control_socket_has_the_same_events(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(PATIENCE)
        control.connect(str(daemon.state_dir / "control.sock"))
        control.sendall(b"GET /admin/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = b""
        while b"event: status" not in got:
            got += control.recv(65536)
        daemon.write("models/n.yaml", model("n", "me"))
        while b'"added":["model n"]' not in got:
            got += control.recv(65536)


def test_events_are_for_admins(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon({**ECHO, "admin_api_keys": ["sk-admin-0123456789abcdef"]})
    assert daemon.get("/admin/events").status == 401
    with daemon.wire() as wire:
        Watching(wire, key="sk-admin-0123456789abcdef").next("status")
    assert daemon.post("/admin/events", b"", key="sk-admin-0123456789abcdef").status == 405


def test_a_watcher_does_not_delay_the_stop_and_its_stream_ends_properly(daemon: Daemon) -> None:
    with daemon.control_wire() as wire:
        Watching(wire).next("status")
        daemon.signal(15)
        assert wire.read_rest().complete
        assert daemon.process.wait(PATIENCE) == 0
