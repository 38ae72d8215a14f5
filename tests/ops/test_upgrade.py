"""`make install` over a running service: no request is refused or interrupted."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY
from tests.harness.waiting import PATIENCE, eventually

SWITCH = REPOSITORY / "packaging/switch.sh"
UPGRADES, CLIENTS = 2, 4
BODY = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello"}]}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)

SYSTEMCTL = """#!/bin/sh
# What systemd does with a service whose socket it holds: the old process ends, a new one gets the socket.
cd {root}
case "$*" in
list-units*) echo openai-proxy.service loaded active running the proxy;;
restart*)
    kill $(cat pid)
    while kill -0 $(cat pid) 2>/dev/null; do sleep 0.02; done
    : >log
    sh -c 'echo $$ >pid; LISTEN_PID=$$ LISTEN_FDS=1 exec {command}' >>log 2>&1 &
    while ! grep -q "serving on" log; do sleep 0.02; done
    ;;
esac
"""


def version(where: Path) -> None:
    """A version as `make install` leaves it, with this Python."""
    (where / "bin").mkdir(parents=True)
    python = where / "bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (where / "share").mkdir()
    for name in ("openai-proxy.service", "openai-proxy.socket", "mcp-node.conf", "openai-proxy.sh"):
        shutil.copy(REPOSITORY / "systemd" / name, where / "share")
    shutil.copy(REPOSITORY / "CHANGELOG.md", where / "share")


class Clients:
    """Send requests repeatedly, each on a new connection, and record every failure."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._over = threading.Event()
        self.wrong: list[str] = []
        self.answered = 0
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                with socket.create_connection(self._address, timeout=PATIENCE) as client:
                    client.sendall(REQUEST)
                    answer = b""
                    while piece := client.recv(65536):
                        answer += piece
            except OSError as error:
                self.wrong.append(repr(error))
                continue
            if answer.startswith(b"HTTP/1.1 200 ") and b'"content":"hello"' in answer:
                self.answered += 1
            else:
                self.wrong.append(repr(answer[:300]))

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.mark.skipif(shutil.which("install") is None, reason="install(1) is not installed")
def test_an_upgrade_fails_no_request(tmp_path: Path, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon("connections: {offline: {api_type: echo}}\n", start=False)
    lib = tmp_path / "lib/openai-proxy"
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as held:
        descriptor = held.fileno()

        def pass_on() -> None:
            os.dup2(descriptor, 3)  # SD_LISTEN_FDS_START of sd_listen_fds(3)

        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)}
        words = [str(lib / "bin/python"), *daemon.command()[1:]]
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(root=tmp_path, command=" ".join(words)))
        systemctl.chmod(0o755)
        version(lib)
        (tmp_path / "log").touch()
        begin = f"echo $$ >pid; LISTEN_PID=$$ LISTEN_FDS=1 exec {' '.join(words)} >>log 2>&1"
        first = subprocess.Popen(["sh", "-c", begin], cwd=tmp_path, env=environ, pass_fds=[3], preexec_fn=pass_on)
        threading.Thread(target=first.wait).start()  # nothing reaps children here
        log = tmp_path / "log"
        eventually(lambda: "serving on" in log.read_text(), "the first version serves")
        clients = Clients(held.getsockname())
        try:
            for number in range(UPGRADES):
                asked = clients.answered
                eventually(
                    lambda asked=asked: clients.answered > asked + 20,
                    f"20 more requests are answered before upgrade {number}",
                )
                version(lib.with_name("openai-proxy.new"))
                done = subprocess.run(
                    ["sh", SWITCH, lib, tmp_path / "units", tmp_path / "bin"],
                    env={**environ, "SYSTEMCTL": str(systemctl)}, pass_fds=[3], preexec_fn=pass_on,
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
            asked = clients.answered
            eventually(lambda: clients.answered > asked + 20, "the last version answers")
        finally:
            clients.stop()
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        assert clients.wrong == []
        assert "Traceback" not in log.read_text()
