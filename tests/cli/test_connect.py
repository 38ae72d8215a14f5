"""`openai-proxy connect`: its output is used with the clients themselves, as far as they are written in Python."""

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from click.testing import CliRunner
from ollama import Client as OllamaClient
from openai import OpenAI
from ruamel.yaml import YAML

from openai_proxy.admin.recipes import RECIPES
from openai_proxy.cli.connect import command
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon

KEY = "sk-family-0123"
MODELS = {"models/home.yaml": "name: augmented/home\nupstream_model: echo\n"}


def connect(root: Daemon | Path, *arguments: str) -> str:
    conf, state = (root.conf_dir, root.state_dir) if isinstance(root, Daemon) else (root / "conf", root / "state")
    result = CliRunner().invoke(command, [*arguments, "--config-dir", str(conf), "--state-dir", str(state)])
    assert result.exit_code == 0, result.output
    return result.stdout


def content(printed: str) -> str:
    """What the client reads: everything except the explanation."""
    return "\n".join(line for line in printed.splitlines() if not line.startswith("#"))


def variables(printed: str) -> dict[str, str]:
    """The variables that a shell would set."""
    script = "env -i sh -c '. /dev/stdin; env'"
    done = subprocess.run(["sh", "-c", script], input=printed, capture_output=True, text=True, check=True)
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs if name not in ("PWD", "SHLVL", "_", "OLDPWD")}


@pytest.fixture
def daemon(make_daemon: DaemonFactory) -> Daemon:
    groups = {"family": {"api_keys": [KEY]}}
    return make_daemon({"connections": {"echo": {"api_type": "echo"}}, "groups": groups}, files=MODELS)


def test_without_a_client_it_lists_all(tmp_path: Path) -> None:
    printed = connect(tmp_path)
    assert [line.split()[0] for line in printed.splitlines()] == list(RECIPES)
    assert len(RECIPES) == 14


def test_a_misspelt_client_gets_a_suggestion() -> None:
    result = CliRunner().invoke(command, ["opencoe"])
    assert result.exit_code == 2
    assert "did you mean opencode?" in result.output


def test_the_address_is_that_of_the_running_daemon(daemon: Daemon) -> None:
    for client in RECIPES:
        printed = connect(daemon, client, "--key", KEY)
        assert f"127.0.0.1:{daemon.port}" in printed, client
        without = connect(daemon, client)
        assert "A key of family" in without, client
        assert KEY not in without, client


def test_sdks_use_the_variables(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(client: str) -> dict[str, str]:
        found = variables(connect(daemon, client, "--key", KEY))
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        return found

    ask: list[Any] = [{"role": "user", "content": "Hello"}]
    model = enter("openai")["OPENAI_MODEL"]
    with OpenAI(max_retries=0) as openai:
        assert openai.chat.completions.create(model=model, messages=ask).choices[0].message.content == "Hello"
    model = enter("claude")["ANTHROPIC_MODEL"]
    with Anthropic(max_retries=0) as claude:
        answer = claude.messages.create(model=model, max_tokens=99, messages=ask)
        assert answer.content[0].to_dict()["text"] == "Hello"
    found = enter("ollama")
    assert OllamaClient()._client.base_url == f"{found['OLLAMA_HOST']}"
    assert variables(connect(daemon, "gemini", "--key", KEY))["GEMINI_API_KEY"] == KEY
    assert variables(connect(daemon, "aider", "--key", KEY))["AIDER_MODEL"].startswith("openai/")


def test_files_are_valid(daemon: Daemon) -> None:
    codex = tomllib.loads(connect(daemon, "codex"))
    assert codex["model_providers"][codex["model_provider"]]["wire_api"] == "responses"
    opencode = json.loads(content(connect(daemon, "opencode")))
    assert set(opencode["provider"]["openai-proxy"]["models"]) == {"augmented/home", "echo"}
    assert opencode["model"] == "openai-proxy/echo"
    assert json.loads(content(connect(daemon, "vscode")))[0]["models"][0]["toolCalling"] is True
    zed = json.loads(content(connect(daemon, "zed")))["language_models"]["openai_compatible"]
    assert zed["openai-proxy"]["available_models"][0]["max_tokens"] > 0
    assert YAML(typ="safe").load(connect(daemon, "continue"))["models"][0]["provider"] == "openai"


def test_home_assistant_gets_an_augmented_model_and_others_a_plain_one(daemon: Daemon) -> None:
    assert "augmented/home" in connect(daemon, "homeassistant")
    assert "augmented/home" not in connect(daemon, "aider")
    assert "augmented/home" in connect(daemon, "aider", "--model", "augmented/home")


def test_without_a_daemon_the_configuration_is_used(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "proxy.yaml").write_text("host: 192.0.2.7\nport: 8123\nrouting: {claude-house: echo.echo}\n")
    found = variables(connect(tmp_path, "claude"))
    assert found["ANTHROPIC_BASE_URL"] == "http://192.0.2.7:8123"
    assert found["ANTHROPIC_MODEL"] == "claude-house"
    assert found["ANTHROPIC_AUTH_TOKEN"] == "not-needed"
    assert "http://box.lan:1/v1" in connect(tmp_path, "openai", "--url", "http://box.lan:1/v1/")


def test_mcp_clients_get_the_address_of_the_tools(tmp_path: Path) -> None:
    server = "servers:\n  time: {command: uvx, args: [mcp-server-time]}\n"
    (tmp_path / "conf" / "mcp").mkdir(parents=True)
    address = ("--url", "http://house:8000", "--key", KEY)
    for client in ("claude", "codex", "homeassistant"):
        assert "/mcp" not in connect(tmp_path, client, *address), client
    (tmp_path / "conf" / "mcp" / "servers.yaml").write_text(server)
    key = f"--header 'Authorization: Bearer {KEY}'"
    assert f"claude mcp add --transport http house http://house:8000/mcp {key}" in connect(tmp_path, "claude", *address)
    codex = tomllib.loads(content(connect(tmp_path, "codex", *address)))["mcp_servers"]["house"]
    assert codex == {"url": "http://house:8000/mcp", "bearer_token_env_var": "OPENAI_PROXY_KEY"}
    cursor = json.loads(content(connect(tmp_path, "cursor", *address)))["mcpServers"]["house"]
    assert cursor == {"url": "http://house:8000/mcp", "headers": {"Authorization": f"Bearer {KEY}"}}
    assert "http://house:8000/mcp" in connect(tmp_path, "homeassistant", "--url", "http://house:8000")
