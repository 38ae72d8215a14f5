"""`openai-proxy mcp …`: try MCP servers from the shell, without a daemon; `restart`, `login` and `logout` need one."""

import asyncio
import json
import logging
import os
import select
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click

from openai_proxy.cli.control import ask
from openai_proxy.cli.groups import NearestGroup
from openai_proxy.cli.options import config_dir, default_state_dir, state_dir
from openai_proxy.cli.screen import complain, say
from openai_proxy.config.load import load
from openai_proxy.config.problems import ConfigError
from openai_proxy.config.servers import ServerConfig
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.secrets import vault
from openai_proxy.tools.base import CallContext, Tool
from openai_proxy.tools.mcp.supervisor import SIGN_INS, Supervisor
from openai_proxy.tools.toolbox import Toolbox

T = TypeVar("T")

_POLL = 0.5  # seconds between two looks at a sign-in, while an address may be pasted
_WAIT = 25  # seconds the daemon may keep us waiting for its end

env_file = click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables.")


@click.group("mcp", cls=NearestGroup)
def command() -> None:
    """Try the MCP servers of conf/mcp/servers.yaml."""


@command.command("list")
@config_dir
@env_file
@state_dir
def list_servers(config_dir: Path, env_file: Path, state_dir: Path | None) -> int:
    """Start every enabled server and say how it does. Exits 1 if one is not ready."""
    servers = _servers(config_dir, env_file)

    async def look(supervisor: Supervisor) -> list[dict[str, Any]]:
        await _settled(supervisor, servers)
        return supervisor.status()

    rows = _run(servers, look, state_dir or default_state_dir(config_dir))
    if not rows:
        say(f"There is no MCP server in {config_dir / 'mcp' / 'servers.yaml'}.")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        offered = f"{len(row['tools'])} tools, about {row['tokens']:,} tokens in each request"
        what = offered if row["state"] == "ready" else row["last_error"] or ""
        say(f"{row['name']:<{width}}  {row['type']:<14}  {row['state']:<10}  {row['protocol'] or '':<10}  {what}")
    return 1 if any(row["state"] not in ("ready", "disabled") for row in rows) else 0


@command.command("tools")
@click.argument("server")
@click.option("--json", "as_json", is_flag=True, help="The definitions as a provider gets them.")
@config_dir
@env_file
@state_dir
def tools(server: str, as_json: bool, config_dir: Path, env_file: Path, state_dir: Path | None) -> int:
    """List the tools SERVER offers: its own name, the name a model sees, the first line of the description."""
    chosen = _one(_servers(config_dir, env_file), server)

    async def look(supervisor: Supervisor) -> list[Tool]:
        await _ready(supervisor, chosen[server])
        return supervisor.tools(server)

    found = _run(chosen, look, state_dir or default_state_dir(config_dir))
    if as_json:
        say(json.dumps([tool.definition for tool in found], indent=2))
        return 0
    for tool in found:
        description = str(tool.definition["function"]["description"])
        say(f"{_own_name(tool)}  ({tool.name})")
        if description:
            say(f"    {description.splitlines()[0][:200]}")
    return 0


@command.command("call")
@click.argument("server")
@click.argument("tool")
@click.argument("arguments", metavar="JSON", default="{}")
@config_dir
@env_file
@state_dir
def call(server: str, tool: str, arguments: str, config_dir: Path, env_file: Path, state_dir: Path | None) -> int:
    """Call TOOL of SERVER with the JSON object. The result goes to stdout; a failure to stderr, with exit 1."""
    chosen = _one(_servers(config_dir, env_file), server)
    try:
        if not isinstance(json.loads(arguments), dict):
            raise ValueError
    except ValueError:
        raise BadRequest('The arguments must be one JSON object, such as \'{"text": "hello"}\'.') from None

    async def run(supervisor: Supervisor) -> tuple[str, bool]:
        await _ready(supervisor, chosen[server])
        offered = supervisor.tools(server)
        name = next((t.name for t in offered if tool in (t.name, _own_name(t))), None)
        if name is None:
            raise NotFound(f"'{server}' offers no tool '{tool[:128]}' (filters of servers.yaml apply).")
        seconds = chosen[server].timeout + 1
        result = await Toolbox(offered).run(name, arguments, CallContext(progress=_show_progress), timeout=seconds)
        return result.text, result.is_error

    text, failed = _run(chosen, run, state_dir or default_state_dir(config_dir))
    say(text, err=failed)
    return 1 if failed else 0


@command.command("restart")
@click.argument("name")
@config_dir
@state_dir
def restart(name: str, config_dir: Path, state_dir: Path | None) -> int:
    """Let the running daemon replace its connection to server NAME; accepts what was held back by `pin`."""
    code, answer = ask(state_dir or default_state_dir(config_dir), "POST", _path(name, "restart"))
    if code != 200:
        return _refused(code, answer)
    say(f"{name} is restarting")
    return 0


@command.command("login")
@click.argument("name")
@config_dir
@state_dir
def login(name: str, config_dir: Path, state_dir: Path | None) -> int:
    """Sign in to server NAME: open the printed address on any device. Exits 0 once it is done, 1 if it cannot be.

    The browser is sent back to the daemon. Where it cannot reach it, paste the address it was sent to.
    """
    directory, path = state_dir or default_state_dir(config_dir), _path(name, "login")
    code, answer = ask(directory, "POST", path)
    if code != 200:
        return _refused(code, answer)
    say(f"Open this address in a browser to sign in to {name}:\n\n{answer['authorization_url']}\n")
    say("If the browser then shows an error, paste the address it was sent to here and press Enter.")
    pasting = True
    try:
        while answer["state"] == "waiting":
            if pasting and (address := _line(_POLL)) is not None:
                pasting = address != ""  # else there is no more to come
                if address.strip():
                    code, refusal = ask(directory, "POST", f"{path}/finish", {"address": address.strip()})
                    if code != 200:
                        _refused(code, refusal)
            code, answer = ask(directory, "GET", path if pasting else f"{path}?wait={_WAIT}")
            if code != 200:
                return _refused(code, answer)
    except KeyboardInterrupt:
        ask(directory, "DELETE", path)
        return 1
    if answer["state"] != "done":
        complain(f"not signed in to {name}: {answer.get('error', 'it was given up')}")
        return 1
    say(f"Signed in to {name}.")
    return 0


@command.command("logout")
@click.argument("name")
@config_dir
@state_dir
def logout(name: str, config_dir: Path, state_dir: Path | None) -> int:
    """Sign out of server NAME: its tokens are forgotten."""
    code, answer = ask(state_dir or default_state_dir(config_dir), "POST", _path(name, "logout"))
    if code != 200:
        return _refused(code, answer)
    say(f"Signed out of {name}." if answer["signed_out"] else f"Nobody was signed in to {name}.")
    return 0


def _path(name: str, action: str) -> str:
    return f"/admin/mcp/{quote(name, safe='')}/{action}"


def _refused(code: int, answer: object) -> int:
    """Say what the daemon said; the exit code."""
    message = answer["error"]["message"] if isinstance(answer, dict) and "error" in answer else f"HTTP {code}"
    complain(message)
    return 1


def _line(seconds: float) -> str | None:
    """The next line of the standard input, "" at its end; None if none came within `seconds`."""
    try:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
    except (OSError, ValueError):  # it is closed, or a test's
        return ""
    return sys.stdin.readline() if ready else None


def _servers(config_dir: Path, env_file: Path) -> Mapping[str, ServerConfig]:
    try:
        snapshot = load(config_dir, env_file, os.environ)
    except ConfigError as error:
        raise BadRequest(vault.scrub(str(error.problems[0]))) from None
    for problem in snapshot.problems:
        if "servers.y" in problem.file:
            say(problem, err=True)
    return snapshot.servers


def _one(servers: Mapping[str, ServerConfig], name: str) -> dict[str, ServerConfig]:
    """The server called `name` alone, switched on: trying it is the point. Raises NotFound."""
    config = servers.get(name)
    if config is None:
        known = ", ".join(sorted(servers)) or "none"
        raise NotFound(f"There is no MCP server '{name[:64]}' in conf/mcp/servers.yaml (there: {known}).")
    return {name: config.model_copy(update={"enabled": True})}


def _run(servers: Mapping[str, ServerConfig], work: Callable[[Supervisor], Awaitable[T]], state_dir: Path) -> T:
    """Do `work` with these servers running, signed in as the daemon is; nothing of them is left afterwards."""

    async def main() -> T:
        supervisor = Supervisor(sign_ins=state_dir / SIGN_INS)
        try:
            supervisor.reconcile(servers)
            return await work(supervisor)
        finally:
            await supervisor.aclose()

    noise = logging.getLogger("openai_proxy.tools.mcp")
    level = noise.level
    noise.setLevel(logging.ERROR)  # what goes wrong is printed, and need not also be logged
    try:
        return asyncio.run(main())
    finally:
        noise.setLevel(level)


async def _settled(supervisor: Supervisor, servers: Mapping[str, ServerConfig]) -> list[str]:
    enabled = [name for name, config in servers.items() if config.enabled]
    patience = max((servers[name].start_timeout for name in enabled), default=0.0)
    return await supervisor.wait_ready(enabled, patience + 1)


async def _ready(supervisor: Supervisor, config: ServerConfig) -> None:
    """Wait for one server. Raises NotFound with its last words where it does not come."""
    if await _settled(supervisor, {config.name: config}):
        status = supervisor.status()[0]
        if status["stderr"]:
            say(status["stderr"], err=True)
        raise NotFound(f"'{config.name}' is not ready: {status['last_error'] or status['state']}")


def _own_name(tool: Tool) -> str:
    """The name its server gave it, which is the one filters are about."""
    return str(getattr(getattr(tool, "source", None), "name", tool.name))


def _show_progress(progress: float | None, total: float | None, message: str | None) -> None:
    if sys.stderr.isatty():
        share = f"{progress:g}/{total:g}" if progress is not None and total else f"{progress or 0:g}"
        say(f"… {share} {message or ''}".rstrip(), err=True)
