"""Running one tool for a client of `/mcp`: a task that reports progress and can be cancelled, and its record."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.endpoints import MCP
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Caller, Exchange, Outcome, new_request_id
from openai_proxy.gateway.offer import Offer
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState, Running
from openai_proxy.tasks import spawn
from openai_proxy.tools.base import CallContext, Consent, ToolResult

_ENDED_KEPT: Final = 4096  # ended sessions that are remembered

Progress = tuple[float, float | None, str | None]
Key = tuple[str, str, int | str]


class RunningCalls:
    """The running calls, by who may cancel them: caller, session and request id.

    Only sessions that their client has ended are remembered: their requests get a 404, upon which clients start again.
    All others are valid, even if an earlier daemon issued them.
    """

    def __init__(self) -> None:
        self._calls: dict[Key, ToolCall] = {}
        self._ended: dict[tuple[str, str], None] = {}

    def add(self, key: Key, call: "ToolCall") -> None:
        """`call` can be cancelled under `key`; of two with the same key the later one."""
        self._calls[key] = call

    def remove(self, key: Key, call: "ToolCall") -> None:
        """It is over."""
        if self._calls.get(key) is call:
            del self._calls[key]

    def cancel(self, key: Key) -> None:
        """Its client no longer wants it."""
        if (call := self._calls.get(key)) is not None:
            call.cancel()

    def has_ended(self, caller: str, session: str) -> bool:
        """True for a session that its client has ended."""
        return (caller, session) in self._ended

    def end_session(self, caller: str, session: str) -> None:
        """Its client has ended the session."""
        self._ended[caller, session] = None
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        for key in [key for key in self._calls if key[:2] == (caller, session)]:
            self.cancel(key)


class ToolCall:
    """One call, from its start to its record. `cancelled` once its client has withdrawn it."""

    def __init__(
        self,
        state: ProxyState,
        generation: Generation,
        offer: Offer,
        caller: Caller,
        model: str | None,
        name: str,
        headers: Mapping[str, str],
    ) -> None:
        self._state = state
        self._generation = generation
        self._offer = offer
        self._name = name
        self._progress: deque[Progress] = deque(maxlen=64)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[ToolResult] | None = None
        self._arguments: Any = None
        self._result: ToolResult | None = None
        self.cancelled = False
        self.exchange = Exchange(new_request_id(), caller, "POST", MCP, model=model or MCP.name)
        # One file per caller and day: the other program's conversation is unknown to us.
        day = time.strftime("%Y-%m-%d", time.localtime(self.exchange.created_at))
        self.exchange.session_id = f"{caller.key_id or caller.remote}-{day}"
        self.exchange.notes.append(name)
        if state.telemetry is not None:
            self.exchange.trace = state.telemetry.begin(self.exchange, headers)
        self._entry = state.recorder.open(self.exchange)

    def start(self, arguments: Mapping[str, Any], consent: Consent | None = None) -> None:
        """Start, in the request's task: an admin's cancel and the shutdown end that."""
        task = asyncio.current_task()
        assert task is not None
        self._state.enter(Running(self.exchange, self._generation, task.cancel))
        self.exchange.state = "tools"
        self._arguments = dict(arguments)
        tool = self._offer.toolbox.get(self._name)
        assert tool is not None
        caller = self.exchange.caller
        trace = self.exchange.trace
        meta = trace.tool_begins(self.exchange.id, self._name) if trace is not None else {}
        context = CallContext(self.exchange.id, caller.identity, self._report, meta, rich=True, consent=consent)
        seconds = self._offer.seconds(self._generation, tool)
        running = self._offer.toolbox.run(self._name, self._arguments, context, timeout=seconds)
        self._task = spawn(running, name=f"mcp call {self._name}")
        self._task.add_done_callback(lambda _: self._changed.set())

    def cancel(self) -> None:
        """The client withdraws it."""
        self.cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def wait(self, seconds: float | None) -> bool:
        """Wait for progress or the result; False after `seconds` without either."""
        if not self._changed.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return False
        self._changed.clear()
        return True

    @property
    def result(self) -> ToolResult | None:
        """Its result; None while it runs, or if it was cancelled."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.result()

    @property
    def over(self) -> bool:
        """True once it has ended."""
        return self._task is not None and self._task.done()

    def progress(self) -> list[Progress]:
        """The progress since the last call."""
        reported = list(self._progress)
        self._progress.clear()
        return reported

    def close(self, outcome: Outcome, status: int, error: ProxyError | None = None) -> None:
        """Record it, whatever its outcome; a tool that still runs is cancelled, and not waited for."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
        exchange, result = self.exchange, self.result
        text, how = ("", "cancelled") if result is None else (result.text, "error" if result.is_error else "ok")
        milliseconds = (time.monotonic() - exchange.started) * 1000
        if exchange.trace is not None:
            exchange.trace.tool_ended(exchange.id, self._arguments, text, failed=how != "ok")
        self._entry.tool_call(self._name, self._arguments, text, milliseconds, how)
        self._state.publish(
            "tool_call",
            {"request_id": exchange.id, "tool": self._name, "status": how, "duration_ms": round(milliseconds, 1)},
        )
        exchange.outcome, exchange.status = outcome, status
        exchange.error_code = error.code if error is not None else None
        if status:
            self._entry.response(status, ())
        self._state.leave(exchange)
        self._entry.close(outcome, exchange.error_code)

    def _report(self, progress: float | None, total: float | None, message: str | None) -> None:
        if progress is not None:
            self._progress.append((progress, total, message))
            self._changed.set()
