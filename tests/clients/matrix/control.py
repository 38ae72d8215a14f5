"""The cost of *Control Home Assistant*, on and off: `python -m tests.clients.matrix.control` prints a table.

A real Home Assistant (installed by `make clients ARGS="--install home"`) asks augmented models through the proxy, which
uses Home Assistant's own MCP server; the first request to the provider is counted. Four characters count as a token.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.clients.matrix import model
from tests.clients.matrix.clients import PROGRAMS, home_assistant
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream

PATIENCE: Final = 150
MCP: Final = {"mcp_servers": {"homeassistant": {}}}
ROWS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("off, `prompt: true`", "off", {"mcp_servers": {"homeassistant": {"prompt": True}}}),
    ("off, without `prompt`", "off", MCP),
    ("on, no MCP server", "on", {}),
    ("on, and the MCP server", "on", MCP),
    ("on, and the MCP server with `client_tools: drop`", "on", {**MCP, "client_tools": "drop"}),
    ("on, and the MCP server with `client_tools: prefer`", "on", {**MCP, "client_tools": "prefer"}),
)


def tokens(value: object) -> int:
    """The approximate number of tokens of `value`."""
    return round(len(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) / 4)


def main() -> int:
    """Measure, print."""
    python = home_assistant()
    if python is None:
        print('Home Assistant is not installed: make clients ARGS="--install home"')
        return 1
    upstream = Upstream().start()
    play = upstream.acting(model.answer, "house")
    names = {f"augmented/control-{number}": row for number, row in enumerate(ROWS)}
    files = {
        f"models/{number}.yaml": json.dumps(
            {"name": name, "upstream_model": play.model, "system_prompt": "You are the voice of this house.", **more}
        )
        for number, (name, (_, _, more)) in enumerate(names.items())
    } | {"mcp/servers.yaml": '{"servers": {}}'}
    conf = {"connections": {"main": connection(upstream.url)}, "default_connection": "main"}
    try:
        with tempfile.TemporaryDirectory(prefix="control-") as place:
            daemon = Daemon(Path(place) / "daemon", conf, files=files).start()
            try:
                servers = str(daemon.conf_dir / "mcp" / "servers.yaml")
                asked = [f"{name}={control}" for name, (_, control, _) in names.items()]
                root = f"http://127.0.0.1:{daemon.port}"
                program = str(PROGRAMS / "home_assistant_control.py")
                command = [python, program, root, asked[0], "TEXTONLY: say hello.", "ollama", servers, *asked]
                subprocess.run(command, cwd=place, env={**os.environ, "HOME": place}, timeout=PATIENCE, check=True)
                daemon.stop()
            finally:
                daemon.kill()
    finally:
        upstream.stop()
    print("| | tools | tokens before the first word | of them prompt | of them tools |\n|---|---|---|---|---|")
    for (told, _, _), body in zip(ROWS, play.bodies(), strict=True):
        offered = body.get("tools") or []
        prompt = sum(tokens(message["content"]) for message in body["messages"] if message["role"] == "system")
        listed = tokens(offered) if offered else 0
        print(f"| {told} | {len(offered)} | {prompt + listed:,} | {prompt:,} | {listed:,} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
