"""Why a connection or a call failed, from what the transport reported and the SDK raised.

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
from pathlib import Path
from typing import Any, Final, cast

from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from openai_proxy.secrets import vault
from openai_proxy.tools.mcp.failures import CallTrace, Failure, FailureKind, type_hint
from openai_proxy.tools.mcp.settings import ServerSettings


def diagnose(
    caught: BaseException | None, link: Any, config: ServerSettings, *, at_probe: bool, closed: bool
) -> Failure:
    """Why a connection over the transport `link` ended.

    `at_probe`: the server had not answered anything, and had only been sent the modern probe. `closed`: its stream has
    ended.
    """
    status = getattr(link, "status", None)
    if status in (401, 403) and (refused := getattr(link, "refused", None)) is not None:
        return cast(Failure, refused)
    if (seen := link.failure) is not None:
        return Failure(FailureKind.BROKEN, seen)
    leaf = _leaf(caught)
    if isinstance(leaf, MCPError) and status is not None and status >= 300:
        return Failure(FailureKind.BROKEN, f"answered HTTP {status}{_of_status(status, leaf, config)}")
    process = getattr(link, "process", None)
    if process is not None and (closed or process.returncode is not None):
        how = "closed its output" if process.returncode is None else _exit_text(process.returncode)
        last = process.stderr.last_line()
        return Failure(FailureKind.ERA if at_probe else FailureKind.BROKEN, f"{how}: {last}" if last else how)
    if isinstance(leaf, FileNotFoundError):
        return Failure(FailureKind.BROKEN, not_found(config.command or "", config.cwd))
    if isinstance(leaf, OSError):
        return Failure(FailureKind.BROKEN, f"{config.command or 'connecting'}: {leaf.strerror or type(leaf).__name__}")
    if closed or leaf is None or isinstance(leaf, asyncio.CancelledError):
        return Failure(FailureKind.BROKEN, "the connection was closed")
    return Failure(FailureKind.BROKEN, in_short(leaf))


def session_lost(problem: Exception, trace: CallTrace) -> bool:
    """404 is the rule; server-everything answers 400. A 400 with another cause has another JSON-RPC code."""
    if not trace.session or not isinstance(problem, MCPError):
        return False
    return trace.status == 404 or (trace.status == 400 and problem.code in (-32000, -32603, -32600))


def in_short(problem: BaseException) -> str:
    """An exception in one line for the owner, without secrets."""
    if isinstance(problem, ValidationError):
        return "an invalid answer"
    text = vault.scrub(str(problem)).split("\n", 1)[0][:300]
    return text or type(problem).__name__


_GENERIC: Final = ("Server returned an error response", "Session terminated")
"""The SDK's text for an answer without one."""


def _of_status(status: int, leaf: BaseException | None, config: ServerSettings) -> str:
    """What explains the status: the server's own words, or a hint."""
    message = in_short(leaf) if isinstance(leaf, MCPError) else ""
    words = f": {message}" if message and not message.startswith(_GENERIC) else ""
    if status < 400:
        return f"{words}: is the url right?"
    return words + type_hint(status, config.type)


_PROGRAMS: Final = {
    "uvx": "uvx is part of uv: https://docs.astral.sh/uv/getting-started/installation/, or pipx install uv",
    "uv": "uv is available at https://docs.astral.sh/uv/getting-started/installation/, or by pipx install uv",
    "npx": "npx is part of Node.js: apt install npm, or https://nodejs.org",
    "npm": "npm is part of Node.js: apt install npm, or https://nodejs.org",
    "node": "for Node.js: apt install nodejs, or https://nodejs.org",
    "bunx": "bunx is part of Bun: https://bun.sh",
    "docker": "for Docker see https://docs.docker.com/engine/install/",
    "deno": "for Deno see https://deno.com",
}


def not_found(command: str, cwd: Path | str | None) -> str:
    """Why a program cannot be started, and how to get those that MCP servers commonly need."""
    if cwd is not None and not Path(cwd).expanduser().is_dir():
        return f"its working directory does not exist: {cwd}"
    hint = _PROGRAMS.get(command)
    if hint is None and "/" not in command:
        hint = "it is looked up on the daemon's PATH, which may be shorter than yours; give the full path"
    return f"not found: {command}{f' ({hint})' if hint else ''}"


def _leaf(caught: BaseException | None) -> BaseException | None:
    """The first real cause inside an exception group."""
    while isinstance(caught, BaseExceptionGroup):
        caught = next((e for e in caught.exceptions if not isinstance(e, asyncio.CancelledError)), caught.exceptions[0])
    return caught


def _exit_text(code: int) -> str:
    return f"exited with status {code}" if code >= 0 else f"was killed by signal {-code}"
