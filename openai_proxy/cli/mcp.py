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

from openai_proxy.cli.control import DaemonRefused, answer_of, ask
from openai_proxy.cli.groups import NearestGroup
from openai_proxy.cli.options import config_dir, state_dir
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
_WAIT = 25  # seconds for which the daemon may delay its answer until the sign-in has ended

env_file = click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables.")


@click.group("mcp", cls=NearestGroup)
def command() -> None:
    """Try the MCP servers of conf/mcp/servers.yaml."""


@command.command("list")
@config_dir
@env_file
@state_dir
def list_servers(config_dir: Path, env_file: Path, state_dir: Path) -> int:
    """Start every enabled server and report its state. Exits with 1 if one is not ready."""
    servers = _servers(config_dir, env_file)

    async def look(supervisor: Supervisor) -> list[dict[str, Any]]:
        await _settled(supervisor, servers)
        return supervisor.status()

    rows = _run(servers, look, state_dir)
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
def tools(server: str, as_json: bool, config_dir: Path, env_file: Path, state_dir: Path) -> int:
    """List the tools of SERVER: the name there, the name that a model sees, the first line of the description."""
    chosen = _one(_servers(config_dir, env_file), server)

    async def look(supervisor: Supervisor) -> list[Tool]:
        await _ready(supervisor, chosen[server])
        return supervisor.tools(server)

    found = _run(chosen, look, state_dir)
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
def call(server: str, tool: str, arguments: str, config_dir: Path, env_file: Path, state_dir: Path) -> int:
    """Call TOOL of SERVER with the JSON object. The result goes to stdout; a failure to stderr, with exit code 1."""
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

    text, failed = _run(chosen, run, state_dir)
    say(text, err=failed)
    return 1 if failed else 0


@command.command("restart")
@click.argument("name")
@config_dir
@state_dir
def restart(name: str, config_dir: Path, state_dir: Path) -> int:
    """Have the running daemon replace its connection to server NAME; accepts definitions withheld by `pin`."""
    answer_of(state_dir, "POST", _path(name, "restart"))
    say(f"{name} is restarting")
    return 0


@command.command("login")
@click.argument("name")
@config_dir
@state_dir
def login(name: str, config_dir: Path, state_dir: Path) -> int:
    """Sign in to server NAME: open the printed address on any device. Exits with 0 once signed in, 1 on failure.

    The browser is then redirected to the daemon. If it cannot reach it, paste the address it was redirected to.
    """
    path = _path(name, "login")
    answer = answer_of(state_dir, "POST", path)
    say(f"Open this address in a browser to sign in to {name}:\n\n{answer['authorization_url']}\n")
    say("If the browser then shows an error, paste the address that it was redirected to here and press Enter.")
    pasting = True
    try:
        while answer["state"] == "waiting":
            if pasting and (address := _line(_POLL)) is not None:
                pasting = address != ""  # an empty line is the end of the input
                if address.strip():
                    _paste(state_dir, path, address.strip())
            answer = answer_of(state_dir, "GET", path if pasting else f"{path}?wait={_WAIT}")
    except KeyboardInterrupt:
        ask(state_dir, "DELETE", path)
        return 1
    if answer["state"] != "done":
        complain(f"not signed in to {name}: {answer.get('error', 'it was cancelled')}")
        return 1
    say(f"Signed in to {name}.")
    return 0


@command.command("logout")
@click.argument("name")
@config_dir
@state_dir
def logout(name: str, config_dir: Path, state_dir: Path) -> int:
    """Sign out of server NAME: forget its tokens."""
    answer = answer_of(state_dir, "POST", _path(name, "logout"))
    say(f"Signed out of {name}." if answer["signed_out"] else f"Nobody was signed in to {name}.")
    return 0


def _path(name: str, action: str) -> str:
    return f"/admin/mcp/{quote(name, safe='')}/{action}"


def _paste(state_dir: Path, path: str, address: str) -> None:
    try:
        answer_of(state_dir, "POST", f"{path}/finish", {"address": address})
    except DaemonRefused as refused:
        complain(refused.message)


def _line(seconds: float) -> str | None:
    """The next line of the standard input, "" at its end; None if there is none within `seconds`."""
    try:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
    except (OSError, ValueError):  # it is closed, or replaced by a test
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
    """Only the server called `name`, and enabled, since it is to be tried. Raises NotFound."""
    config = servers.get(name)
    if config is None:
        known = ", ".join(sorted(servers)) or "none"
        raise NotFound(f"There is no MCP server '{name[:64]}' in conf/mcp/servers.yaml (it has: {known}).")
    return {name: config.model_copy(update={"enabled": True})}


def _run(servers: Mapping[str, ServerConfig], work: Callable[[Supervisor], Awaitable[T]], state_dir: Path) -> T:
    """Do `work` with these servers running, with the daemon's sign-ins; afterwards they are gone."""

    async def main() -> T:
        supervisor = Supervisor(sign_ins=state_dir / SIGN_INS)
        try:
            supervisor.reconcile(servers)
            return await work(supervisor)
        finally:
            await supervisor.aclose()

    noise = logging.getLogger("openai_proxy.tools.mcp")
    level = noise.level
    noise.setLevel(logging.ERROR)  # errors are printed, and need not also be logged
    try:
        return asyncio.run(main())
    finally:
        noise.setLevel(level)


async def _settled(supervisor: Supervisor, servers: Mapping[str, ServerConfig]) -> list[str]:
    enabled = [name for name, config in servers.items() if config.enabled]
    patience = max((servers[name].start_timeout for name in enabled), default=0.0)
    return await supervisor.wait_ready(enabled, patience + 1)


async def _ready(supervisor: Supervisor, config: ServerConfig) -> None:
    """Wait until the server is ready. Raises NotFound with its last error if it does not start."""
    if await _settled(supervisor, {config.name: config}):
        status = supervisor.status()[0]
        if status["stderr"]:
            say(status["stderr"], err=True)
        raise NotFound(f"'{config.name}' is not ready: {status['last_error'] or status['state']}")


def _own_name(tool: Tool) -> str:
    """The tool's name at its server, to which filters apply."""
    return str(getattr(getattr(tool, "source", None), "name", tool.name))


def _show_progress(progress: float | None, total: float | None, message: str | None) -> None:
    if sys.stderr.isatty():
        share = f"{progress:g}/{total:g}" if progress is not None and total else f"{progress or 0:g}"
        say(f"… {share} {message or ''}".rstrip(), err=True)
