"""`import` of MCP servers: what is carried over, what is reported, and that the result is valid."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from openai_proxy.cli.import_ import command as import_
from openai_proxy.config.load import load
from openai_proxy.config.servers import ServerConfig

CLAUDE = {
    "mcpServers": {
        "file system": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv/$x"]},
        "github": {
            "command": "docker",
            "args": ["run", "-i", "ghcr.io/github/github-mcp-server"],
            "env": {"GITHUB_TOKEN": "ghp_literal123", "COST": "5$"},
            "autoApprove": ["*"],
        },
        "remote": {"type": "http", "url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer ${TOK}"}},
        "old": {"type": "sse", "url": "https://old.example.com/sse", "disabled": True, "timeout": 60000},
        "x" * 40: {"command": "uvx some-server --flag"},
        "nothing": {},
    }
}
VSCODE = """{
  // servers of the house
  "inputs": [{"id": "api-key", "type": "promptString"}],
  "servers": {
    "search": {"type": "stdio", "command": "npx", "args": ["-y", "x"], "env": {"KEY": "${input:api-key}"},},
    "local": {"command": "${workspaceFolder}/run.sh", "envFile": ".env"}
  },
}"""


def run(root: Path, document: Any, *flags: str) -> Result:
    source = root / "source.json"
    source.write_text(document if isinstance(document, str) else json.dumps(document))
    return CliRunner().invoke(import_, [str(source), "--config-dir", str(root / "conf"), *flags])


def servers(root: Path, **environ: str) -> dict[str, ServerConfig]:
    snapshot = load(root / "conf", None, environ)
    assert [str(problem) for problem in snapshot.problems] == []
    return dict(snapshot.servers)


def test_claude_desktops_servers(tmp_path: Path) -> None:
    result = run(tmp_path, CLAUDE)
    assert result.exit_code == 0
    assert "5 MCP servers from source.json" in result.output
    for said in (
        "mcpServers.file system: it is called file-system here",
        "mcpServers.github.env.GITHUB_TOKEN: the secret was copied into servers.yaml",
        "mcpServers.github.autoApprove: tools run without confirmation here",
        "mcpServers.nothing: it has neither a command nor a url",
        "set TOK in .env",
    ):
        assert said in result.output
    assert "ghp_literal123" not in result.output
    file = tmp_path / "conf/mcp/servers.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (tmp_path / "conf/.schemas/servers.json").exists()
    found = servers(tmp_path, TOK="tok")
    assert found["file-system"].args[-1] == "/srv/$x"
    assert found["github"].env == {"GITHUB_TOKEN": "ghp_literal123", "COST": "5$"}
    assert (found["remote"].type, dict(found["remote"].headers)) == ("streamablehttp", {"Authorization": "Bearer tok"})
    assert (found["old"].type, found["old"].enabled, found["old"].timeout) == ("sse", False, 60)
    assert (found["x" * 32].command, found["x" * 32].args) == ("uvx", ("some-server", "--flag"))


def test_vs_codes_servers_with_comments_and_inputs(tmp_path: Path) -> None:
    result = run(tmp_path, VSCODE)
    assert result.exit_code == 0
    assert "set API_KEY in .env" in result.output
    assert "mcpServers.local.command: there is no workspace here" in result.output
    assert "mcpServers.local.envFile: variables come from openai-proxy's .env" in result.output
    found = servers(tmp_path, API_KEY="k")
    assert found["search"].env == {"KEY": "k"}
    assert found["local"].command == "${workspaceFolder}/run.sh"


@pytest.mark.parametrize(
    "before",
    [
        "# mine\nservers: {}   # none yet\n#  commented:\n",
        "# mine\nservers:\n  time:   # keep this\n    command: uvx\n    args: [mcp-server-time]\n",
        "# mine\nservers: {time: {command: uvx, args: [mcp-server-time]}}\n",
    ],
)
def test_existing_servers_stay(tmp_path: Path, before: str) -> None:
    target = tmp_path / "conf/mcp/servers.yaml"
    target.parent.mkdir(parents=True)
    target.write_text(before)
    document = {"mcpServers": {"time": {"command": "other"}, "new": {"command": "npx", "args": ["-y", "new"]}}}
    assert run(tmp_path, document).exit_code == 0
    assert target.read_text().startswith("# mine\n")
    found = servers(tmp_path)
    assert found["new"].args == ("-y", "new")
    if "uvx" in before:
        assert found["time"].command == "uvx"
        assert run(tmp_path, document, "--force").exit_code == 0
        assert servers(tmp_path)["time"].command == "other"


def test_names_that_become_equal(tmp_path: Path) -> None:
    run(tmp_path, {"mcpServers": {"a b": {"command": "one"}, "a/b": {"command": "two"}}})
    assert {name: server.command for name, server in servers(tmp_path).items()} == {"a-b": "one", "a-b-2": "two"}


def test_a_broken_servers_file_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "conf/mcp/servers.yaml"
    target.parent.mkdir(parents=True)
    target.write_text("servers: {a: [")
    assert run(tmp_path, CLAUDE).exit_code != 0
    assert target.read_text() == "servers: {a: ["
