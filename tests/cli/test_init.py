"""`openai-proxy init` on a terminal, and in a script."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openai_proxy.cli.first_provider import put_variable
from openai_proxy.config.environment import read_environment
from openai_proxy.config.load import load
from tests.harness.daemon import REPOSITORY
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE


class Terminal:
    """A command on its own terminal."""

    def __init__(self, folder: Path, *words: str, **environ: str) -> None:
        self.screen = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:  # the child
            os.chdir(folder)
            env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"}
            os.execve(sys.executable, [sys.executable, "-m", "openai_proxy", *words], env | environ)

    def until(self, text: str) -> str:
        """Read until `text` is on the screen; returns what was printed since the last time."""
        begin, end = len(self.screen), time.monotonic() + PATIENCE
        while text not in self.screen[begin:]:
            assert time.monotonic() < end, f"{text!r} did not appear: {self.screen}"
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    data = os.read(self._fd, 65536)
                except OSError:  # the child has ended
                    data = b""
                assert data, f"the command ended before {text!r} appeared: {self.screen}"
                self.screen += data.decode().replace("\r\n", "\n")
        return self.screen[begin:]

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        os.write(self._fd, line.encode() + b"\n")

    def end(self) -> int:
        """The exit code."""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.screen += data.decode().replace("\r\n", "\n")
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """End it after a failed test."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


Begin = Callable[..., Terminal]


@pytest.fixture
def at_a_terminal(tmp_path: Path) -> Iterator[Begin]:
    begun: list[Terminal] = []

    def begin(*words: str, **environ: str) -> Terminal:
        begun.append(Terminal(tmp_path, *words, **environ))
        return begun[-1]

    yield begin
    for terminal in begun:
        terminal.kill()


def test_a_server_at_home_is_tried_and_written(at_a_terminal: Begin, tmp_path: Path, upstream: Upstream) -> None:
    terminal = at_a_terminal("init")
    terminal.until("Number")
    terminal.type("6")
    terminal.until("Address")
    terminal.type(f"127.0.0.1:{upstream.port}")
    terminal.until("Key")
    terminal.type("")
    assert "it works" in terminal.until("models")
    assert terminal.end() == 0
    assert "Home Assistant:  http://" in terminal.screen
    assert "Claude Code:     ANTHROPIC_BASE_URL=http://" in terminal.screen
    snapshot = load(tmp_path / "conf", tmp_path / ".env", {})
    assert snapshot.problems == ()
    assert snapshot.proxy.connections["local-server"].api_base == f"http://127.0.0.1:{upstream.port}/v1"
    assert "# host: 0.0.0.0" in (tmp_path / "conf/proxy.yaml").read_text()


def test_a_key_that_does_not_work_is_explained_and_asked_for_again(at_a_terminal: Begin, tmp_path: Path) -> None:
    server = Upstream().start()
    try:
        terminal = at_a_terminal("init")
        terminal.until("Number")
        terminal.type("6")
        terminal.until("Address")
        terminal.type("127.0.0.1:9")
        terminal.until("Key")
        terminal.type("sk-typed-0123456789")
        assert "connection refused by 127.0.0.1:9" in terminal.until("Try again")
        terminal.type("y")
        terminal.until("Address")
        terminal.type(f"127.0.0.1:{server.port}")
        terminal.until("Key")
        terminal.type("sk-typed-0123456789")
        terminal.until("it works")
        assert terminal.end() == 0
    finally:
        server.stop()
    assert "sk-typed" not in terminal.screen
    assert (tmp_path / ".env").read_text() == "LOCAL_SERVER_API_KEY=sk-typed-0123456789\n"
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert "sk-typed" not in (tmp_path / "conf/proxy.yaml").read_text()
    connection = load(tmp_path / "conf", tmp_path / ".env", {}).proxy.connections["local-server"]
    assert connection.api_keys == ("sk-typed-0123456789",)


def test_no_provider_yet_is_a_valid_answer(at_a_terminal: Begin, tmp_path: Path) -> None:
    terminal = at_a_terminal("init")
    terminal.until("Number")
    terminal.type("7")
    assert terminal.end() == 0
    assert list(load(tmp_path / "conf", None, {}).proxy.connections) == ["echo"]
    assert not (tmp_path / ".env").exists()


def test_an_existing_conf_is_not_changed(at_a_terminal: Begin, tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/proxy.yaml").write_text("# mine\nport: 9000\n")
    terminal = at_a_terminal("init")
    assert "is not changed" in terminal.until("Number")
    terminal.type("6")
    terminal.until("Address")
    terminal.type(upstream.url)
    terminal.until("Key")
    terminal.type("")
    assert terminal.end() == 0
    assert (tmp_path / "conf/proxy.yaml").read_text().startswith("# mine\nport: 9000\n")
    assert not (tmp_path / "conf/models").exists()
    assert ":9000/v1" in terminal.screen


def test_with_yes_nothing_is_asked(at_a_terminal: Begin, tmp_path: Path) -> None:
    terminal = at_a_terminal("init", "--yes")
    assert terminal.end() == 0
    assert "Number" not in terminal.screen
    assert "Start it:        openai-proxy serve\n" in terminal.screen
    assert (tmp_path / "conf/proxy.yaml").exists()


def test_serving_without_a_conf_offers_one(at_a_terminal: Begin, tmp_path: Path) -> None:
    terminal = at_a_terminal("serve", "--host", "127.0.0.1", "--port", "0")
    terminal.until("Create one now?")
    terminal.type("y")
    terminal.until("Number")
    terminal.type("7")
    terminal.until("serving on")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end() == 0
    assert (tmp_path / "conf/models/example.yaml").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "KEY=v\n"),
        ("", "KEY=v\n"),
        ("A=1\n", "A=1\nKEY=v\n"),
        ("A=1", "A=1\nKEY=v\n"),
        ("KEY=\nA=1\n", "KEY=v\nA=1\n"),
        ("export KEY=old\n", "KEY=v\n"),
        ("KEYS=1\n# KEY=x\n", "KEYS=1\n# KEY=x\nKEY=v\n"),
    ],
)
def test_a_variable_is_added_to_an_existing_file(tmp_path: Path, before: str | None, after: str) -> None:
    file = tmp_path / ".env"
    if before is not None:
        file.write_text(before)
    put_variable(file, "KEY", "v")
    assert file.read_text() == after


@pytest.mark.parametrize("value", ["a#b", "a$b", 'a"b', "a b", "sk-1_2.3"])
def test_a_value_is_read_back_as_written(tmp_path: Path, value: str) -> None:
    put_variable(tmp_path / ".env", "SOMETHING", value)
    assert read_environment(tmp_path / ".env", {}).variables == {"SOMETHING": value}
