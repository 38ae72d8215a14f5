"""A handler: Python code that runs a tool, in whatever form its author wrote it; and the tool made of it.

Whatever the code does (raise, hang, call sys.exit, recurse forever, swallow cancellation, return a set), the model gets
a result and the daemon keeps running.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openai_proxy import tasks
from openai_proxy.plugin_loader import describe
from openai_proxy.secrets import vault
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.result import failure, success
from openai_proxy.tools.workers import Workers, WorkersExhausted

log = logging.getLogger(__name__)

Run = Callable[[dict[str, Any]], object]
"""A handler's code: arguments in, anything out; a coroutine is awaited on the loop."""


class ToolFailure(Exception):
    """Raised by a handler: its text is for the model and is passed on unchanged (scrubbed)."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One named piece of code. `definition` is the function tool for the model unless a model file replaces it."""

    name: str
    definition: dict[str, Any]
    run: Run
    is_async: bool
    origin: str = "built in"  # the file's name, for messages about duplicate names


@dataclass(frozen=True, slots=True)
class HandlerTool:
    """A `Tool` that runs a handler. Immutable; the workers live as long as the process."""

    handler: Handler
    workers: Workers
    definition: dict[str, Any]

    @property
    def name(self) -> str:
        """The name the model sees."""
        return self.handler.name

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """Run the handler. Raises only our own cancellation, which also enforces deadlines (Toolbox.run).

        When cancelled, it returns at once, even if the code cannot be stopped: it is then abandoned.
        """
        name = self.name
        try:
            value = await self._value(arguments)
        except WorkersExhausted:
            log.error("tool %s was not run: too many earlier calls still hang", name)
            return failure(f"{name} cannot run now: too many earlier tool calls still hang.")
        except ToolFailure as error:
            return failure(str(error))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return failure(f"{name} was cancelled from within.")
        except BaseException as error:  # SystemExit and KeyboardInterrupt of a handler must not end the daemon
            log.warning("tool %s failed: %s", name, vault.scrub(describe(error)))
            return failure(f"{name} failed: {describe(error)}")
        if isinstance(value, ToolResult):
            return failure(value.text) if value.is_error else success(value.text)
        return success(value)

    async def _value(self, arguments: dict[str, Any]) -> object:
        run = self.handler.run
        if self.handler.is_async:
            value = run(arguments)
        else:
            value = await self.workers.run(lambda: run(arguments), timeout=None, name=self.name)
        return await _awaited(value, self.name) if inspect.isawaitable(value) else value


def handler_tool(handler: Handler, workers: Workers, *, definition: Mapping[str, Any] | None = None) -> HandlerTool:
    """The tool of `handler`; `definition` replaces the handler's own."""
    return HandlerTool(handler, workers, dict(definition) if definition is not None else handler.definition)


async def _awaited(value: Awaitable[object], name: str) -> object:
    """The result of `value`; a cancellation is passed on to it but not waited for.

    It runs in a separate task, because a coroutine that ignores CancelledError would otherwise hold the request
    forever; and behind a guard, because SystemExit in a task is raised again out of the event loop.
    """
    task = tasks.spawn(_guarded(value), name=f"tool {name}")
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        raise
    fine, outcome = task.result()
    if fine:
        return outcome
    assert isinstance(outcome, BaseException)
    raise outcome


async def _guarded(value: Awaitable[object]) -> tuple[bool, object]:
    try:
        return True, await value
    except BaseException as error:  # passed to the code that waits; see _awaited
        return False, error
