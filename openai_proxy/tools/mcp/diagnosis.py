"""Why a connection or a call failed, told from what the transport saw and what the SDK raised.

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
from typing import Any, cast

from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from openai_proxy.secrets import vault
from openai_proxy.tools.mcp.failures import CallTrace, Failure, FailureKind
from openai_proxy.tools.mcp.settings import ServerSettings


def diagnose(
    caught: BaseException | None, link: Any, config: ServerSettings, *, at_probe: bool, closed: bool
) -> Failure:
    """Why a connection over the transport `link` ended.

    `at_probe`: the server had not answered anything, and what it had been asked was the modern probe. `closed`: its
    stream has ended.
    """
    status = getattr(link, "status", None)
    if status in (401, 403) and (refused := getattr(link, "refused", None)) is not None:
        return cast(Failure, refused)
    if (seen := link.failure) is not None:
        return Failure(FailureKind.BROKEN, seen)
    leaf = _leaf(caught)
    if isinstance(leaf, MCPError) and status is not None and status >= 300:
        wrong = ": is the url right, and the type?" if status in (404, 405) or status < 400 else ""
        return Failure(FailureKind.BROKEN, f"answered HTTP {status}{wrong}")
    process = getattr(link, "process", None)
    if process is not None and (closed or process.returncode is not None):
        how = "closed its output" if process.returncode is None else _exit_text(process.returncode)
        last = process.stderr.last_line()
        return Failure(FailureKind.ERA if at_probe else FailureKind.BROKEN, f"{how}: {last}" if last else how)
    if isinstance(leaf, FileNotFoundError):
        return Failure(FailureKind.BROKEN, f"not found: {config.command} (or its working directory)")
    if isinstance(leaf, OSError):
        return Failure(FailureKind.BROKEN, f"{config.command or 'connecting'}: {leaf.strerror or type(leaf).__name__}")
    if closed or leaf is None or isinstance(leaf, asyncio.CancelledError):
        return Failure(FailureKind.BROKEN, "the connection was closed")
    return Failure(FailureKind.BROKEN, in_short(leaf))


def session_lost(problem: Exception, trace: CallTrace) -> bool:
    """404 is the rule; server-everything answers 400. A 400 of another cause has another JSON-RPC code."""
    if not trace.session or not isinstance(problem, MCPError):
        return False
    return trace.status == 404 or (trace.status == 400 and problem.code in (-32000, -32603, -32600))


def in_short(problem: BaseException) -> str:
    """An exception in one line for the owner, without secrets."""
    if isinstance(problem, ValidationError):
        return "an answer that makes no sense"
    text = vault.scrub(str(problem)).split("\n", 1)[0][:300]
    return text or type(problem).__name__


def _leaf(caught: BaseException | None) -> BaseException | None:
    """The first real cause inside an exception group."""
    while isinstance(caught, BaseExceptionGroup):
        caught = next((e for e in caught.exceptions if not isinstance(e, asyncio.CancelledError)), caught.exceptions[0])
    return caught


def _exit_text(code: int) -> str:
    return f"exited with status {code}" if code >= 0 else f"was killed by signal {-code}"
