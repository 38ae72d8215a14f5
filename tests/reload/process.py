"""The reloading part of a daemon inside the test's own process: no sockets, but everything that an edit affects."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from openai_proxy.runtime.prepare import adopt, make, prepare_first
from openai_proxy.runtime.reload import Reloads
from openai_proxy.runtime.state import ProxyState, Settings
from openai_proxy.tasks import cancel, spawn

MODEL = """\
name: house/m{number}
upstream_model: m-small
owned_by: {owner}
system_prompt: |
  You control house {number}. Time: {{{{get_current_time(timezone="Europe/Berlin")}}}}
  Speak as one who has lived there for years, and never of yourself.
tools: [calculator, {{type: function, function: {{name: get_current_time, description: now, parameters: {{type: object, properties: {{timezone: {{type: string}}}}}}}}}}]
{servers}params: {{default: {{temperature: 0.3}}}}
"""  # noqa: E501 - a file as its owner writes it


def write_model(conf: Path, number: int, owner: str, server: str = "") -> None:
    """One model file of the size of the contract's example."""
    servers = f"mcp_servers: {{{server}: {{whitelist: ['*e*']}}}}\n" if server else ""
    text = MODEL.format(number=number, owner=owner, servers=servers)
    (conf / "models" / f"m{number}.yaml").write_text(text)


def write_configuration(conf: Path, models: int, servers: list[str] | None = None, command: str = "[x]") -> None:
    """A conf/ with this many models, skills, and (if named) MCP servers started by `command`."""
    names = servers or []
    for folder in ("models", "mcp", "skills"):
        (conf / folder).mkdir(parents=True, exist_ok=True)
    (conf / "proxy.yaml").write_text("connections: {offline: {api_type: echo}}\n")
    lines = [f"  {name}: {{type: stdio, command: {command}}}\n" for name in names]
    (conf / "mcp" / "servers.yaml").write_text("servers:\n" + "".join(lines) if names else "")
    for number in range(models):
        write_model(conf, number, "first", names[number % len(names)] if names else "")
    for number in range(5):
        (conf / "skills" / f"skill{number}.md").write_text(f"# Skill {number}\nDo it well.\n")


@asynccontextmanager
async def reloading(root: Path) -> AsyncIterator[tuple[ProxyState, Reloads]]:
    """State and Reloads for `root`/conf, as the daemon creates them."""
    settings = Settings(root / "conf", root / ".env", root / "logs", root / "state")
    settings.state_dir.mkdir(exist_ok=True)
    prepared = prepare_first(settings)
    state = ProxyState(settings, asyncio.get_running_loop())
    try:
        adopt(state, make(state, prepared))
        state.reloads = Reloads(state, prepared.tree, None)
        yield state, state.reloads
    finally:
        await state.aclose()


@asynccontextmanager
async def lag() -> AsyncIterator[list[float]]:
    """The lag of the event loop in seconds, at each iteration within the block."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            due = time.monotonic() + 0.001
            await asyncio.sleep(0.001)
            late.append(time.monotonic() - due)

    watching = spawn(watch(), name="lag")
    try:
        yield late
    finally:
        await cancel(watching)
