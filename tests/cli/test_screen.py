"""Every command writes with `say`: no foreign escape sequence and no secret reaches the terminal."""

import ast
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import openai_proxy.cli
from openai_proxy.cli.main import cli
from openai_proxy.cli.screen import complain, say
from openai_proxy.secrets import vault
from tests.conftest import DaemonFactory
from tests.front.configurations import front_conf
from tests.harness.plays import DONE, delta, stream
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e\r"
OBEYED = set("\x1b\x07\x9b\u202e\r")

DIRECT = {"echo", "secho", "echo_via_pager", "print", "pprint"}


def _direct_writes(source: str) -> list[int]:
    """Lines of `source` that write to the terminal without `say`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            stream = ast.unparse(function).startswith(("sys.stdout.", "sys.stderr."))
            if name in DIRECT or (stream and name in {"write", "writelines"}):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "file", sorted(Path(openai_proxy.cli.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_no_command_bypasses_say(file: Path) -> None:
    lines = _direct_writes(file.read_text())
    assert bool(lines) == (file.name == "screen.py"), f"{file.name} bypasses say in lines {lines}"


def test_the_scan_finds_direct_writes() -> None:
    source = "click.echo(1)\nprint(2)\nsys.stdout.write('3')\nsay(4)\nfrom click import echo\necho(5)"
    assert _direct_writes(source) == [
        1, 2, 3, 6,
    ]  # fmt: skip


def test_say_escapes_control_sequences_and_hides_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "screen-secret-5512"
    vault.learn([secret])
    say(f"{EVIL} {secret}")
    complain(f"two\nlines {EVIL} {secret}")
    out, err = capsys.readouterr()
    assert not set(out + err) & OBEYED
    assert secret not in out + err
    assert "\\x1b[2J" in out
    assert err.count("\n") == 1


def test_foreign_names_and_answers_in_every_command(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    daemon = make_daemon(front_conf(upstream))
    play = upstream.play(stream(delta("hi " + EVIL, finish="stop"), DONE), name=f"model{EVIL}")
    name = play.model
    body = {"model": name, "stream": True, "messages": [{"role": "user", "content": EVIL}]}
    assert daemon.post("/v1/chat/completions", json.dumps(body).encode()).status == 200
    eventually(lambda: len(list(daemon.log_lines())) >= 2, "the requests are in the chat log")
    place = ["--config-dir", str(daemon.conf_dir), "--state-dir", str(daemon.state_dir)]
    logs = ["--logs-dir", str(daemon.logs_dir)]
    for words in (
        ["chat", name, "hello", *place],
        ["explain", name, *place],
        ["usage", "--by", "model", *place],
        ["status", *place],
        ["connect", "openai", "--model", name, *place],
        ["logs", "list", *logs],
        ["logs", "show", "last", *logs],
        ["logs", "show", name, *logs],
        ["no-such-" + EVIL],
    ):
        result = CliRunner().invoke(cli, words, standalone_mode=False)
        written = result.output + result.stderr
        assert written or result.exception, words
        assert not set(written) & OBEYED, words
    assert "\x1b" not in daemon.stderr
