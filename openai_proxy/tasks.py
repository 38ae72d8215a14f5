"""Background tasks with a name and an owner.

The event loop keeps only weak references to tasks, so a task that nobody holds may be collected before it ends
(https://docs.python.org/3/library/asyncio-task.html#asyncio.create_task). The linter bans the bare call; every task of
the process is created here.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)
_alive: set[asyncio.Task[Any]] = set()
_place = threading.local()


def spawn(coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start `coroutine` as a task called `name` and hold it until it ends.

    An exception that nobody awaits is logged when the task ends, not when the garbage collector finds it.
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
    """Run `function` in a thread beside the loop, for work that takes milliseconds."""
    return await asyncio.get_running_loop().run_in_executor(None, _in_steps, function, *arguments)


def _in_steps(function: Callable[..., T], *arguments: Any) -> T:
    _place.beside = True
    try:
        return function(*arguments)
    finally:
        _place.beside = False


def is_beside() -> bool:
    """True in a thread of `in_thread`, where large data must be processed in small steps."""
    return getattr(_place, "beside", False)


async def beside(large: bool, function: Callable[..., T], *arguments: Any) -> T:
    """Run `function`: `in_thread` if it works on something `large`, else directly."""
    return await in_thread(function, *arguments) if large else function(*arguments)


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel `tasks` and wait until each has ended; their exceptions are dropped, our own cancellation is not."""
    pending = [task for task in tasks if task is not None and not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
