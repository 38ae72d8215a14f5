"""Where blocking tool code runs: daemon threads, bounded, each call with a deadline.

`concurrent.futures.ThreadPoolExecutor` is not used because its threads are joined at exit
(https://docs.python.org/3/library/concurrent.futures.html#threadpoolexecutor): one hanging handler would keep the
daemon from stopping. A thread cannot be killed either, so a call that passes its deadline is *abandoned*: it gives
its place back at once, and only the count of abandoned threads is bounded.

A few threads that have nothing to do stay for the next call: to start one costs 60 µs at best, and holds up the loop
until the new thread has had its turn at the GIL, which is milliseconds in a busy process.
"""

import asyncio
import contextvars
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

MAX_RUNNING: Final = 16
MAX_ABANDONED: Final = 48
MAX_IDLE: Final = 4  # threads kept for the next call


class WorkersExhausted(Exception):
    """So many calls hang that no further thread is started."""


class DeadlinePassed(TimeoutError):
    """Our deadline, not a TimeoutError the function itself raised."""


class Workers:
    """Runs functions off the event loop. Lives as long as the process; used from one event loop at a time."""

    def __init__(self, running: int = MAX_RUNNING, abandoned: int = MAX_ABANDONED) -> None:
        self._limit = running
        self._max_abandoned = abandoned
        self._running = 0
        self._abandoned = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: list[_Thread] = []
        weakref.finalize(self, _send_home, self._idle).atexit = False

    @property
    def running(self) -> int:
        """Calls that run now and are waited for."""
        return self._running

    @property
    def abandoned(self) -> int:
        """Threads that still run though nobody waits for them."""
        return self._abandoned

    async def run(self, function: Callable[[], T], *, timeout: float | None, name: str = "tool") -> T:
        """What `function` returns, or raises (SystemExit and the like included), run in another thread.

        `timeout` in seconds covers the wait for a free place too. Raises DeadlinePassed past it, WorkersExhausted
        when too many earlier calls hang. Cancelling returns at once; the thread runs on unheard.
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
        self._waiting.append(waiter)
        try:
            await waiter  # _free hands its place over without giving it back in between
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._free()
            raise

    def _free(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
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
            except BaseException as error:  # SystemExit in a tool is the tool's failure, not the thread's end
                outcome = False, error
            try:
                loop.call_soon_threadsafe(ended, outcome, thread)
            except RuntimeError:
                return False  # the loop has closed: nobody waits any more
            return True

        thread = self._idle.pop() if self._idle else _Thread()
        thread.jobs.put((job, f"openai-proxy {name}"))


class _Thread:
    """One daemon thread: does its jobs until one is None, or says that nobody waits any more."""

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
            del job  # what a call held is not kept until the next one


def _send_home(idle: list[_Thread]) -> None:
    for thread in idle:
        thread.jobs.put(None)
