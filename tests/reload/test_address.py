"""An edit of the address opens the new one, then closes the old one; open connections continue."""

import socket
import subprocess
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY, Daemon, free_port, listens
from tests.harness.plays import DONE, LAST, SSE_HEAD, TWO, chunk, delta
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Wire
from tests.reload.looking import problems, reload


class AsConfigured(Daemon):
    """A daemon whose address is set in proxy.yaml."""

    def command(self) -> list[str]:
        command = super().command()
        for flag in ("--host", "--port"):
            at = command.index(flag)
            del command[at : at + 2]
        return command

    def begin(self, conf: dict[str, Any]) -> "AsConfigured":
        self.port = conf["port"]
        self.write("proxy.yaml", conf)
        self.launch()
        eventually(lambda: listens(conf["port"]), "the daemon listens")
        return self


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    daemon = AsConfigured(tmp_path_factory.mktemp("address"))
    yield daemon
    try:
        if daemon.running():
            daemon.stop()
    finally:
        daemon.kill()


def conf(upstream: Upstream, host: str, port: int, **more: Any) -> dict[str, Any]:
    one = {"api_type": "openai", "api_base": upstream.url, "api_key": "sk-up-0123456789abcdef"}
    return {"host": host, "port": port, "connections": {"main": one}, **more}


def test_a_new_port_opens_before_the_old_one_closes(daemon: AsConfigured, upstream: Upstream) -> None:
    old, new = free_port(), free_port()
    daemon.begin(conf(upstream, "127.0.0.1", old))
    gate = upstream.gate()
    play = upstream.play(SSE_HEAD, chunk(TWO), gate, chunk(delta("end") + DONE), LAST)
    with daemon.wire() as wire:
        wire.chat(play.model, stream=True).read_head()
        wire.read_until(b"two")
        daemon.write("proxy.yaml", conf(upstream, "127.0.0.1", new))
        eventually(lambda: listens(new), "the new port is open")
        eventually(lambda: not listens(old), "the old port is closed")
        eventually(
            lambda: f"now serving on http://127.0.0.1:{new}/v1\n" in daemon.stderr, "the log names the new address"
        )
        gate.open()
        answer = wire.read_rest()
        assert (answer.complete, answer.body) == (True, delta("end") + DONE)
        assert (
            wire.request("GET", "/health").answer(method="GET").status == 200
        )  # a kept-alive connection to the old address
    daemon.port = new
    assert daemon.get("/health").status == 200


def test_all_addresses_take_over_from_one_on_the_same_port(daemon: AsConfigured, upstream: Upstream) -> None:
    port = free_port()
    daemon.begin(conf(upstream, "127.0.0.1", port))
    for host, other in (("0.0.0.0", True), ("127.0.0.1", False), ("127.0.0.2", True)):
        daemon.write("proxy.yaml", conf(upstream, host, port))
        eventually(lambda other=other: listens(port, "127.0.0.2") is other, f"the daemon listens on {host}")
        assert problems_none(daemon, host)
    with socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):  # a second daemon is still refused
            second.bind(("127.0.0.2", port))


def problems_none(daemon: Daemon, host: str) -> bool:
    with Wire(("127.0.0.2" if host == "127.0.0.2" else "127.0.0.1", daemon.port)) as wire:
        answer = wire.request("GET", "/admin/status", host="127.0.0.1").answer(method="GET")
        return answer.json()["config"]["problems"] == []


def test_a_port_in_use_is_a_problem_with_its_place_until_it_is_free(daemon: AsConfigured, upstream: Upstream) -> None:
    port, taken = free_port(), socket.create_server(("127.0.0.1", 0))
    daemon.begin(conf(upstream, "127.0.0.1", port))
    wanted = taken.getsockname()[1]
    with taken:
        daemon.write("proxy.yaml", conf(upstream, "127.0.0.1", wanted))
        code, answer = reload(daemon)
        assert code == 422
        (told,) = problems(daemon)
        assert told.startswith("proxy.yaml:")
        assert "the port is in use" in told
        assert reload(daemon)[0] == 422
    code, answer = reload_where(daemon, port)
    assert (code, answer.get("problems")) == (200, None)
    eventually(lambda: listens(wanted), "the daemon listens on the configured port")


def reload_where(daemon: Daemon, port: int) -> tuple[int, Any]:
    with Wire(("127.0.0.1", port)) as wire:
        answer = wire.request("POST", "/admin/reload", body=b"").answer()
        return answer.status, answer.json()


def test_under_socket_activation_an_edit_of_the_address_is_a_problem(
    make_daemon: DaemonFactory, upstream: Upstream
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    daemon = make_daemon(conf(upstream, "127.0.0.1", 8000), start=False)
    daemon.port = listener.getsockname()[1]
    plain = daemon.command()
    for flag in ("--host", "--port"):
        at = plain.index(flag)
        del plain[at : at + 2]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(daemon.root), "PYTHONPATH": str(REPOSITORY)}
    listener.set_inheritable(True)
    environ["LISTEN_FDS"] = "1"
    script = f'exec 3<&{listener.fileno()}; export LISTEN_PID=$$; exec "$@"'  # as systemd passes a socket
    command = ["bash", "-c", script, "bash", *plain]
    with (daemon.root / "stderr").open("ab") as stderr, listener:
        daemon._process = subprocess.Popen(
            command, cwd=daemon.root, env=environ, pass_fds=[listener.fileno()], stdout=stderr, stderr=stderr
        )
        assert reload(daemon)[0] == 200
        daemon.write("proxy.yaml", conf(upstream, "127.0.0.1", 8001))
        code, answer = reload(daemon)
        assert code == 422
        assert answer["problems"][0]["message"].startswith("port: the service manager holds the address")
        assert daemon.get("/health").status == 200
        daemon.write("proxy.yaml", conf(upstream, "127.0.0.1", 8000))
        assert reload(daemon)[0] == 200


def test_new_connections_use_the_new_header_timeout(daemon: AsConfigured, upstream: Upstream) -> None:
    port = free_port()
    daemon.begin(conf(upstream, "127.0.0.1", port))
    with Wire(("127.0.0.1", port)) as before:
        before.send(b"GET /health HTTP/1.1\r\nHost: loc")
        daemon.write("proxy.yaml", conf(upstream, "127.0.0.1", port, limits={"header_seconds": 0.3}))
        assert reload(daemon)[0] == 200
        with Wire(("127.0.0.1", port), timeout=15) as after:  # the default is 20
            after.send(b"GET /health HTTP/1.1\r\nHost: loc")
            after.wait_closed()
        before.send(b"alhost\r\n\r\n")
        assert before.answer(method="GET").status == 200
