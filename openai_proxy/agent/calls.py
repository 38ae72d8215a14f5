"""Running our tools for one turn: concurrently, bounded, not repeated too often, ended with the turn."""

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.agent.deadline import Deadline
from openai_proxy.agent.fingerprint import canonical
from openai_proxy.agent.plan import Plan, ToolOwner
from openai_proxy.agent.status import StatusFeed
from openai_proxy.agent.turn import CallRecord, Turn, TurnToolbox
from openai_proxy.dialects.chat.deltas import is_object
from openai_proxy.tasks import spawn
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.result import bound

log = logging.getLogger(__name__)

NOT_RUN: Final = "This call was not run."
"""The result of a call truncated by the token limit, or made when no tool may run any more."""

MAX_TOTAL: Final = 500_000
"""Bytes of results in one turn, about 125k tokens: most models' context is full beyond that …"""

MIN_RESULT: Final = 4000
"""… and each further result keeps this much of its head and tail."""

_GRACE: Final = 0.5  # seconds that a tool may exceed its own time limit before it is abandoned
_ENDING: Final = 0.1  # seconds that a cancelled tool has to end; a client that disconnects must not wait for it


@dataclass(frozen=True, slots=True)
class _Running:
    call: dict[str, Any]
    task: asyncio.Task[ToolResult]


class ToolCalls:
    """Our calls in one turn, over all its rounds."""

    def __init__(self, turn: Turn, plan: Plan, feed: StatusFeed, deadline: Deadline) -> None:
        self._turn = turn
        self._plan = plan
        self._feed = feed
        self._deadline = deadline
        width = turn.settings.concurrency if plan.parallel else 1
        self._slots = asyncio.Semaphore(max(1, width))
        self._seen: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count(1)  # the calls' ids in status chunks: their real ids are not for the client
        self._room = MAX_TOTAL
        self._running: list[_Running] = []  # of this round, in call order
        self.acted = False  # a tool has run: later failures must not cause a blind repetition
        self.succeeded = False  # the last tool to end succeeded

    def start(self, call: dict[str, Any]) -> None:
        """Start `call`, an entry of tool_calls."""
        task = spawn(self._call(call), name=f"tool {call['function']['name'][:64]}")
        running = _Running(call, task)
        task.add_done_callback(lambda _: self._feed.wake.set())
        self._running.append(running)

    @property
    def _toolbox(self) -> TurnToolbox:
        assert self._plan.toolbox is not None
        return self._plan.toolbox

    @property
    def started(self) -> int:
        """How many calls of this round have started."""
        return len(self._running)

    @property
    def pending(self) -> bool:
        """True while a call of this round has not ended."""
        return any(not running.task.done() for running in self._running)

    def take(self, order: list[str]) -> list[dict[str, Any]]:
        """The tool messages of this round, in the order of the call ids `order`; the next round begins."""
        results: dict[str, str] = {}
        for running in self._running:
            text = bound(running.task.result().text, max(self._room, MIN_RESULT))
            self._room -= len(text.encode("utf-8", "replace"))
            results[running.call["id"]] = text
        self._running = []
        return [{"role": "tool", "tool_call_id": i, "content": results.get(i, NOT_RUN)} for i in order]

    async def close(self) -> None:
        """Cancel what is still running. Returns in about 0.1 s even if a tool cannot be ended."""
        await end_soon({running.task for running in self._running})

    async def _call(self, call: dict[str, Any]) -> ToolResult:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        number = next(self._numbers)
        fault = self._fault(name, arguments)
        started = self._turn.clock()
        if fault is not None:
            result = ToolResult(fault, is_error=True)
        elif self._plan.owner(name) is not ToolOwner.OURS:
            result = await _caught(self._toolbox.run(name, arguments), name)  # which suggests the nearest name
        else:
            async with self._slots:
                started = self._turn.clock()
                self._feed.post("executing_tool", name, call=number)
                result = await self._run(number, name, arguments, call["id"])
            self.succeeded = not result.is_error
        seconds = self._turn.clock() - started
        self._feed.post(
            "tool_completed",
            name,
            call=number,
            duration_ms=round(seconds * 1000, 1),
            is_error=result.is_error or None,
        )
        status = "error" if result.is_error else "ok"
        self._turn.observer.tool_call(CallRecord(call["id"], name, arguments, result.text, status, seconds))
        return result

    def _fault(self, name: str, arguments: str) -> str | None:
        """Why this call is not run, in words for the model."""
        if (instead := self._plan.instead_of(name)) is not None:
            return f"There is no tool {name}. Call {instead} instead."
        same = (name, canonical(arguments))
        self._seen[same] = self._seen.get(same, 0) + 1
        if self._seen[same] > self._turn.settings.same_call_limit:
            return (
                f"You have called {name} with these arguments {self._turn.settings.same_call_limit} times already. "
                "Use the results you have."
            )
        return None

    async def _run(self, number: int, name: str, arguments: str, call: str) -> ToolResult:
        limit = self._turn.settings.tool_timeout
        left = self._deadline.for_tools()
        if left <= 0:
            return ToolResult("There was no time left to run this tool. Answer with what you know.", is_error=True)
        limit = min(limit, left)
        self.acted = True
        context = CallContext(
            request_id=self._turn.request_id,
            caller=self._turn.caller,
            progress=self._feed.progress(number, name),
            meta={**self._turn.meta, **self._turn.observer.tool_begins(call, name)},
            consent=self._turn.consent,
            device=self._turn.device,
        )
        task = spawn(_caught(self._toolbox.run(name, arguments, context, timeout=limit), name), name=f"run {name[:64]}")
        try:
            done, _ = await asyncio.wait({task}, timeout=limit + _GRACE)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return task.result()
        task.cancel()
        log.warning("the tool %s ignores its time limit and is left running", name)
        return ToolResult(f"{name} did not answer within {limit:g} seconds.", is_error=True)


async def _caught(running: Awaitable[Any], name: str) -> ToolResult:
    """The result of a tool that may misbehave: raise, cancel itself, or return something else."""
    try:
        result = await running
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return ToolResult(f"{name} was cancelled.", is_error=True)
    except Exception as error:
        log.exception("the tool %s raised an error instead of returning one", name)
        return ToolResult(f"{name} failed ({type(error).__name__}).", is_error=True)
    return result if isinstance(result, ToolResult) else ToolResult(str(result))


async def end_soon(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait at most 0.1 s for them: a departing client must not wait for an unresponsive tool."""
    pending = {task for task in tasks if not task.done()}
    for task in pending:
        task.cancel()
    if pending:
        _, stuck = await asyncio.wait(pending, timeout=_ENDING)
        for task in stuck:
            log.warning("%s does not end; it is left running", task.get_name())


def sendable(call: dict[str, Any]) -> dict[str, Any]:
    """`call` for the next request: some providers refuse a request if arguments are not a JSON object."""
    function = call.get("function")
    if not isinstance(function, dict) or is_object(function["arguments"]):
        return call
    return {**call, "function": {**function, "arguments": json.dumps({"invalid_json": function["arguments"][:2000]})}}
