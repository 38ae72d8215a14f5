"""Runs blocking tool code in daemon threads, bounded in number, each call with a deadline.

`concurrent.futures.ThreadPoolExecutor` is not used because its threads are joined at exit
(https://docs.python.org/3/library/concurrent.futures.html#threadpoolexecutor): one hanging handler would keep the
daemon from stopping. A thread cannot be killed either, so a call that misses its deadline is *abandoned*: it frees its
slot at once, and only the number of abandoned threads is bounded.

A few idle threads are kept for later calls: starting one costs at least 60 µs, and blocks the loop until the new thread
has had its turn at the GIL, which takes milliseconds in a busy process.
"""

import asyncio
import contextvars
import queue
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

MAX_RUNNING: Final = 16
MAX_ABANDONED: Final = 48
MAX_IDLE: Final = 4  # idle threads that are kept


class WorkersExhausted(Exception):
    """So many calls hang that no further thread is started."""


class DeadlinePassed(TimeoutError):
    """Our deadline, not a TimeoutError raised by the function itself."""


class Workers:
    """Runs functions off the event loop. Lives as long as the process; used from one event loop at a time."""

    def __init__(self, running: int = MAX_RUNNING, abandoned: int = MAX_ABANDONED) -> None:
        self._limit = running
        self._max_abandoned = abandoned
        self._running = 0
        self._abandoned = 0
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()  # in the order in which they came
        self._idle: list[_Thread] = []
        weakref.finalize(self, _send_home, self._idle).atexit = False

    @property
    def running(self) -> int:
        """Running calls that are being waited for."""
        return self._running

    @property
    def abandoned(self) -> int:
        """Abandoned threads that are still running."""
        return self._abandoned

    async def run(self, function: Callable[[], T], *, timeout: float | None, name: str = "tool") -> T:
        """Run `function` in another thread; returns or raises what it does (including SystemExit and the like).

        `timeout` in seconds includes the wait for a free slot. Raises DeadlinePassed after it, WorkersExhausted if too
        many earlier calls hang. Cancelling returns at once; the thread runs on, and its result is discarded.
        """
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                fine, value = await self._outcome(function, name)
        except TimeoutError:
            raise DeadlinePassed from None
        if fine:
            return value  # type: ignore[return-value]  # `fine` says which half of the union it is
        assert isinstance(value, BaseException)
        raise value

    async def _outcome(self, function: Callable[[], T], name: str) -> tuple[bool, T | BaseException]:
        await self._place()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[bool, T | BaseException]] = loop.create_future()
        waited = True

        def ended(outcome: tuple[bool, T | BaseException], thread: _Thread) -> None:
            self._rest(thread)
            if waited:
                self._free()
            else:
                self._abandoned -= 1
            if not done.done():
                done.set_result(outcome)

        try:
            self._start(function, loop, ended, name)
        except BaseException:
            self._free()
            raise
        try:
            return await done
        except asyncio.CancelledError:
            if done.cancelled():
                waited = False
                self._abandoned += 1
                self._free()
            raise

    async def _place(self) -> None:
        if self._abandoned >= self._max_abandoned:
            raise WorkersExhausted
        if self._running < self._limit:
            self._running += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            await waiter  # _free passes its slot on without releasing it in between
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._free()
            else:
                self._waiting.pop(waiter, None)
            raise

    def _free(self) -> None:
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(None)
                return
        self._running -= 1

    def _rest(self, thread: "_Thread") -> None:
        if len(self._idle) < MAX_IDLE:
            self._idle.append(thread)
        else:
            thread.jobs.put(None)

    def _start(
        self,
        function: Callable[[], T],
        loop: asyncio.AbstractEventLoop,
        ended: "Callable[[tuple[bool, T | BaseException], _Thread], None]",
        name: str,
    ) -> None:
        context = contextvars.copy_context()

        def job(thread: _Thread) -> bool:
            outcome: tuple[bool, T | BaseException]
            try:
                outcome = True, context.run(function)
            except BaseException as error:  # SystemExit in a tool is the tool's failure and must not end the thread
                outcome = False, error
            try:
                loop.call_soon_threadsafe(ended, outcome, thread)
            except RuntimeError:
                return False  # the loop has closed: nobody is waiting any more
            return True

        thread = self._idle.pop() if self._idle else _Thread()
        thread.jobs.put((job, f"openai-proxy {name}"))


class _Thread:
    """One daemon thread: runs its jobs until one is None, or nobody needs it any more."""

    __slots__ = ("jobs",)

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[Callable[[_Thread], bool], str] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        me = threading.current_thread()
        going_on = True
        while going_on and (given := self.jobs.get()) is not None:
            job, me.name = given
            del given
            going_on = job(self)
            del job  # a call's objects are not kept until the next one


def _send_home(idle: list[_Thread]) -> None:
    for thread in idle:
        thread.jobs.put(None)
