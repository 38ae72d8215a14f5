"""`openai-proxy mcp …` from the shell."""

import json
import sys
from pathlib import Path

import pytest

from openai_proxy.cli.main import run
from tests.mcp.conftest import FAULT_SERVER, TEST_ID, children


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "mcp").mkdir(parents=True)
    fault = {"command": sys.executable, "env": {"MCP_TEST": TEST_ID}, "start_timeout": 10}
    servers = {
        "good": {**fault, "args": [str(FAULT_SERVER)], "blacklist": ["die"]},
        "bad": {**fault, "args": [str(FAULT_SERVER), "die"]},
        "off": {**fault, "args": [str(FAULT_SERVER)], "enabled": False},
    }
    text = "servers:\n" + "".join(f"  {name}: {json.dumps(server)}\n" for name, server in servers.items())
    (tmp_path / "conf" / "mcp" / "servers.yaml").write_text(text)
    return tmp_path / "conf"


def mcp(conf: Path, *arguments: str) -> int:
    code = run(["mcp", *arguments, "--config-dir", str(conf)])
    assert children() == []
    return code


def test_list_shows_the_state_of_each_server(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mcp(conf, "list") == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "ready" in lines["good"]
    assert "status 3" in lines["bad"]
    assert "disabled" in lines["off"]


def test_tools_shows_both_names_of_the_filtered_tools(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mcp(conf, "tools", "good") == 0
    out = capsys.readouterr().out
    assert "echo  (mcp_good_echo)" in out
    assert "die" not in out


def test_a_disabled_server_can_be_tried(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mcp(conf, "call", "off", "mcp_off_echo", '{"text": "hello"}') == 0
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("call", "good", "echo", "[1]"), "one JSON object"),
        (("call", "good", "die"), "offers no tool"),
        (("call", "good", "echo", '{"text": 1}'), "text"),
        (("call", "none", "echo"), "There is no MCP server"),
        (("tools", "bad"), "frobnicator"),
    ],
)
def test_failures_are_one_line_and_exit_code_1(
    conf: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert mcp(conf, *arguments) == 1
    streams = capsys.readouterr()
    assert words in streams.err
    assert streams.out == ""


def test_restart_needs_a_daemon(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mcp(conf, "restart", "good") == 1
    assert "no daemon answers" in capsys.readouterr().err
