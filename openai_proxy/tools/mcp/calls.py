"""Requests to one server, each in a separate task that is abandoned at its deadline, and their outcomes.

The SDK's own timeout starts only after a request was written and then waits up to 5 s to report it (measured on 2.3.0),
and what ended a call may have ended its connection, too.

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from mcp import Client
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from openai_proxy.secrets import vault
from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.mcp.diagnosis import in_short, session_lost
from openai_proxy.tools.mcp.failures import (
    TRACE,
    CallTrace,
    Failure,
    FailureKind,
    NotDelivered,
    auth_hint,
    traced,
)
from openai_proxy.tools.mcp.filter import Wire
from openai_proxy.tools.mcp.results import to_result
from openai_proxy.tools.result import clean, success
from openai_proxy.tools.result import failure as failed

T = TypeVar("T")

PARALLEL_CALLS = 64
"""Concurrent calls of one server; more wait within their own deadline."""

_TRACE_FIELDS = frozenset({"traceparent", "tracestate"})
_SUSPICIOUS = 10.0  # seconds after which a call that its caller gave up makes us check the server


class McpCalls:
    """The requests of one connection.

    `doubt` checks whether the server is alive, `relist` reads its tools again; `lose` gives up the connection.
    """

    def __init__(
        self,
        server: str,
        wire: Wire,
        *,
        doubt: Callable[[], None],
        relist: Callable[[], None],
        lose: Callable[[Failure], None],
    ) -> None:
        self._server = server
        self._wire = wire
        self._doubt = doubt
        self._relist = relist
        self._lose = lose
        self._slots = asyncio.Semaphore(PARALLEL_CALLS)
        self._running: set[asyncio.Task[Any]] = set()
        self.over = False  # the connection is lost, or about to be closed

    @property
    def busy(self) -> int:
        """Running requests."""
        return len(self._running)

    async def drained(self, seconds: float) -> None:
        """Wait until no request is running, at most `seconds`."""
        if running := set(self._running):
            await asyncio.wait(running, timeout=seconds)

    async def aclose(self) -> None:
        """End running requests: the connection is gone."""
        self.over = True
        await cancel(*self._running)

    async def request(self, request: Coroutine[Any, Any, T], seconds: float, trace: CallTrace | None = None) -> T:
        """Make a request of our own in a separate task. Raises TimeoutError, or what the SDK raised."""
        outcome = await self._bounded(request, seconds, trace or CallTrace())
        if outcome is None:
            raise TimeoutError("no answer")
        value, problem = outcome
        if problem is not None:
            raise problem
        assert value is not None
        return value

    async def _bounded(
        self, request: Coroutine[Any, Any, T], seconds: float, trace: CallTrace
    ) -> tuple[T | None, Exception | None] | None:
        """The result of `request`; None after `seconds`: it is then cancelled and not waited for."""
        task = spawn(traced(request, trace), name=f"mcp-request-{self._server}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()  # the SDK informs the server
            raise
        if not done:
            task.cancel()
            return None
        return task.result() if not task.cancelled() else (None, RuntimeError("cancelled"))

    async def call_tool(
        self, client: Client, name: str, arguments: dict[str, Any], context: CallContext, seconds: float
    ) -> ToolResult:
        """Call a tool. Raises NotDelivered if it was certainly not executed; everything else is a result."""
        propagated = {name: str(value) for name, value in context.meta.items() if name in _TRACE_FIELDS}
        trace, began = CallTrace(propagated=propagated), time.monotonic()
        try:
            outcome = await self._bounded(self._invoke(client, name, arguments, context), seconds, trace)
        except asyncio.CancelledError:
            if time.monotonic() - began > _SUSPICIOUS:
                self._doubt()
            raise
        if outcome is None:
            return self._overdue(trace, seconds)
        value, problem = outcome
        if problem is None:
            assert value is not None
            return value
        return self._failed(problem, trace)

    async def text_of(self, request: Coroutine[Any, Any, T], as_text: Callable[[T], str], seconds: float) -> ToolResult:
        """The result of a read-only request, as text. Raises NotDelivered as `call_tool` does."""
        trace = CallTrace(started=True)
        outcome = await self._bounded(request, seconds, trace)
        if outcome is None:
            return self._overdue(trace, seconds)
        value, problem = outcome
        if problem is not None:
            return self._failed(problem, trace)
        assert value is not None
        return success(as_text(value))

    async def _invoke(self, client: Client, name: str, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            context.progress(progress, total, vault.scrub(clean(message)[:200]) if message else None)

        async with self._slots:
            if (trace := TRACE.get()) is not None:
                trace.started = True
            result = await client.call_tool(
                name, arguments, progress_callback=report, meta=cast(Any, dict(context.meta)) if context.meta else None
            )
        return to_result(result.content, result.structured_content, bool(result.is_error), rich=context.rich)

    def _overdue(self, trace: CallTrace, seconds: float) -> ToolResult:
        name = self._server
        if not trace.started:
            return failed(f"The tool server '{name}' is busy: {PARALLEL_CALLS} calls are running. Try again later.")
        if not trace.sent:
            # It has not read its input all that time, so later messages in the pipe will not be read either.
            self._lose(Failure(FailureKind.BROKEN, "it stopped reading its input"))
            return failed(
                f"The tool server '{name}' did not accept the call within {seconds:g} s; it is being restarted."
            )
        self._doubt()
        return failed(f"No answer within {seconds:g} s: the call was cancelled, but it may have taken effect.")

    def _failed(self, problem: Exception, trace: CallTrace) -> ToolResult:
        name = self._server
        if trace.more_access_required:
            self._relist()  # find out whether it is this tool or everything
            return failed(f"The tool server '{name}' needs a permission for this that its owner has not granted yet.")
        if trace.status in (401, 403):
            self._lose(Failure(FailureKind.AUTH, auth_hint(trace.status)))
            return failed(f"The tool server '{name}' refuses our credentials; its owner must renew them.")
        if session_lost(problem, trace):
            self._lose(Failure(FailureKind.SESSION, f"it forgot the session (HTTP {trace.status})"))
            raise NotDelivered("the server forgot the session")
        if not trace.sent and not isinstance(problem, ValidationError):
            if isinstance(problem, TypeError | ValueError):
                return failed(f"The arguments cannot be sent: {problem}")
            raise NotDelivered(in_short(problem))
        cut = isinstance(problem, MCPError) and str(problem).startswith("SSE stream ")  # the SDK's words for it
        if cut or trace.broken or self._wire.closed or self.over:
            if cut or trace.broken:
                self._doubt()
            return failed(f"The tool server '{name}' failed during the call; whether it took effect is unknown.")
        if isinstance(problem, MCPError):
            if trace.status is not None and (
                (trace.status >= 400 and problem.code == -32603) or 300 <= trace.status < 400
            ):
                return failed(f"The tool server '{name}' answered with HTTP status {trace.status}.")
            return failed(str(problem) or "The tool server reported an error.")
        return failed(f"The tool server '{name}' sent an invalid answer ({type(problem).__name__}).")
