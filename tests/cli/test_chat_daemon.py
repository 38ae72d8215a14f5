"""`openai-proxy chat` finds the running daemon by its state directory, wherever it listens and whatever keys it has."""

from pathlib import Path

from click.testing import CliRunner

from openai_proxy.cli.chat import command
from openai_proxy.cli.control import listens
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon


def chat(daemon: Daemon, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, ["echo", "Hello", "--state-dir", str(daemon.state_dir), *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_it_uses_the_control_socket_without_key_or_port(make_daemon: DaemonFactory) -> None:
    conf = {"connections": {"echo": {"api_type": "echo"}}, "groups": {"family": {"api_keys": ["sk-family-0123"]}}}
    daemon = make_daemon(conf)
    assert chat(daemon) == (0, "Hello\n", "")
    address = ("--port", str(daemon.port))
    assert chat(daemon, *address, "--key", "sk-family-0123") == (0, "Hello\n", "")
    code, stdout, stderr = chat(daemon, *address)
    assert (code, stdout) == (1, "")
    assert "API key" in stderr


def test_a_stale_socket_is_ignored(tmp_path: Path) -> None:
    assert not listens(tmp_path)
    (tmp_path / "control.sock").touch()
    assert not listens(tmp_path)


def test_without_a_socket_the_configured_port_is_used(make_daemon: DaemonFactory, tmp_path: Path) -> None:
    daemon = make_daemon({"connections": {"echo": {"api_type": "echo"}}})
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/proxy.yaml").write_text(f"port: {daemon.port}\n")
    words = ["echo", "Hello", "--config-dir", str(tmp_path / "conf"), "--state-dir", str(tmp_path / "nowhere")]
    result = CliRunner().invoke(command, words)
    assert (result.exit_code, result.stdout) == (0, "Hello\n")
    (tmp_path / "conf/proxy.yaml").write_text("port: 1\n")
    assert "127.0.0.1:1" in CliRunner().invoke(command, words).stderr
