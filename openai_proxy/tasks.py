"""Background tasks with a name and an owner.

The event loop keeps only weak references to tasks, so a task nobody holds may be collected before it ends
(https://docs.python.org/3/library/asyncio-task.html#asyncio.create_task). The linter bans the bare call; every
task of the process is born here.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)
_alive: set[asyncio.Task[Any]] = set()


def spawn(coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start `coroutine` as a task called `name` and hold it until it ends.

    An exception nobody awaits is logged when the task ends, not when the garbage collector finds it.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _alive.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s failed: %s", task.get_name(), error, exc_info=error)


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """What `function` of `arguments` gives, or raises, in a thread beside the loop: for what takes milliseconds."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel `tasks` and wait until each has ended; their exceptions are dropped, our own cancellation is not."""
    pending = [task for task in tasks if task is not None and not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
