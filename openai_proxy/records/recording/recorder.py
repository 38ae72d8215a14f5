"""The event loop's side of the records: what recording costs a running request.

A relay that streams at 12 µs per chunk can spare a tenth of that. So `Entry.data` appends to a list and adds to a
number, and opening and closing an entry fill a few slots. Small, plain exchanges are turned into lines by the loop
itself, BATCH at a time (`short_line.py`); everything else (inflating, JSON, folding, scrubbing, writing) is done by the
recorder's thread (`recorder_thread.py`), which

- polls every TICK while there is work, and is woken only from sleep: a wake-up is a futex and a switch of the
  interpreter lock, more expensive than the work;
- works in slices with pauses between them, because the loop cannot run meanwhile: a chunk may wait for one slice;
- gets longer slices when it falls behind, and past BACKLOG bytes gets nothing more: those lines are lost and counted,
  and no request waits.

All entries of one recorder are used from one thread (that of the event loop).
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

from openai_proxy.exchange import Exchange
from openai_proxy.records.recording.entry import CLOSE, FLUSH, LINES, SMALL, Entry, EntryRecorder, Item
from openai_proxy.records.recording.recorder_thread import RecordWriter
from openai_proxy.records.recording.short_line import Express

log = logging.getLogger(__name__)

SPILL: Final = ((250, 16384), (500, 8192), (2000, 4096), (1 << 60, 2048))
"""Up to that many open entries, the bytes that one collects before the thread folds them. Larger blocks are cheaper
(0.9 µs per chunk at 8 KiB, 1.6 at 2 KiB); but with thousands of open streams memory matters more, and each sends
little.
"""
BACKLOG: Final = 64 * 1024 * 1024  # bytes waiting for the thread, beyond which lines are lost
HASTE: Final = 1024 * 1024
"""Waiting bytes, beyond which the thread does not wait for its next tick: 26,000 exchanges a second make 2 MB in
one.
"""
TICK: Final = 0.04  # seconds between two rounds
QUIET: Final = 30  # idle rounds in a row, after which the thread sleeps until it is woken
CHORES: Final = 0.2  # maximum seconds between two checks of other chores, while the thread is awake
PAUSE: Final = 0.00005  # seconds between two slices; a sleep of zero would take the lock back before the loop wakes
SLICE: Final = 0.0002  # seconds of one slice under low load
MANY: Final = 32  # items that wait, or exchanges that ended since the last round, beyond which slices are longer
BATCH: Final = 32
"""Plain exchanges that the loop turns into lines at once. One by one they take 16 µs each, mostly for code that has
left the processor's cache in between; in a row 7. In the thread it took 14: it cannot run while the loop does, and each
switch of the interpreter lock costs both.
"""
MANY_CALLERS: Final = 1000  # at least, after which those with nothing waiting are forgotten
_OVERHEAD: Final = 300  # bytes of an item besides its payload


class Recorder(EntryRecorder):
    """Everything that is recorded, for the life of the process. See `RecordWriter` for what happens to an entry."""

    def __init__(
        self, writer: RecordWriter, loop: asyncio.AbstractEventLoop | None = None, *, backlog: int = BACKLOG
    ) -> None:
        """Without a `loop` there are no batches: each exchange is turned into lines as it ends."""
        self.writer = writer
        self._express = Express(writer.conversations)
        self.metrics = writer.metrics
        self.started = 0  # entries opened …
        self.ended = 0  # … and closed
        self.lost = 0  # lines that were never queued
        self._queue: deque[Item] = deque()
        self._offered = 0  # bytes, counted by the loop …
        self._handled = 0  # … and by the thread: two counters need no lock
        self._queued_until: dict[bytes | str, int] = {}
        """For each caller, the value of `_offered` after its latest exchange was queued; once `_handled` has reached
        it, the thread has none of that caller's left. A short exchange must not overtake one that is still queued,
        because it may continue the same conversation.
        """
        self._many_callers = MANY_CALLERS
        self._bound = backlog
        self._ended_before = 0
        self._asleep = False
        self._stopping = False
        self._hurried = False
        self._chores_at = 0.0  # when they are checked next
        self._loop = loop
        self._plain: list[Entry] = []  # ended, small, and not examined yet
        self._timer: asyncio.TimerHandle | None = None
        self._bell: SimpleQueue[None] = SimpleQueue()  # in C: an Event's wait takes three locks and 5 µs
        self._worker = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._worker.start()
        writer.metrics.active = self.active
        writer.metrics.lost_lines = self.lost_lines

    def open(self, exchange: Exchange) -> Entry:
        """Begin to record `exchange`."""
        self.started += 1
        limit = SPILL[0][1]
        if (number := self.started - self.ended) > SPILL[0][0]:
            limit = next(limit for bound, limit in SPILL if number <= bound)
        return Entry(self, exchange, exchange.endpoint.metered, limit)

    def active(self) -> int:
        """The number of open entries."""
        return self.started - self.ended

    def lost_lines(self) -> int:
        """Lines lost to a full backlog or a full disk."""
        return self.lost + self.writer.lost

    @property
    def backlog(self) -> int:
        """Bytes waiting for the thread."""
        return self._offered - self._handled

    def closed(self, entry: Entry) -> None:
        """An exchange is over. Plain ones are turned into lines here, in batches; others by the thread."""
        self.ended += 1
        if not entry.begun and entry.status == 200 and entry.size <= SMALL:
            plain = self._plain
            plain.append(entry)
            if self._loop is None or len(plain) >= BATCH:
                self._write_plain()
            elif self._timer is None:
                self._timer = self._loop.call_later(TICK, self._time_is_up)
        else:
            self.offer(CLOSE, entry, None, entry.size + (len(entry.body) if entry.body is not None else 0))

    def _time_is_up(self) -> None:
        self._timer = None
        self._write_plain()

    def _write_plain(self) -> None:
        """Turn the recently ended exchanges into lines, and pass them to the thread."""
        plain, self._plain = self._plain, []
        express = self._express
        # Past half of the limit the general way decides what is lost. Not before: its items hold parsed requests.
        short = self._offered - self._handled < self._bound // 2 and not self.writer.detailed()
        express.wanted = self.writer.wanted_singly()
        for entry in plain:
            try:
                if (
                    short
                    and self._queued_until.get(entry.exchange.caller.account, 0) <= self._handled
                    and express.record(entry)
                ):
                    continue
            except Exception:
                self.writer.failed += 1
                log.exception("an exchange could not be recorded the short way")
            self._hand_over()  # lines are in the order in which exchanges ended
            entry.document = None
            self._offer(CLOSE, entry, None, entry.size + (len(entry.body) if entry.body is not None else 0))
        self._hand_over()

    def _hand_over(self) -> None:
        if (lines := self._express.take()) is not None:
            self._put((LINES, None, lines, lines.size + _OVERHEAD))
            if self._offered - self._handled > HASTE and not self._hurried:
                self._hurry()

    def offer(self, kind: int, entry: Entry, payload: Any, size: int) -> None:
        """Queue one item for the thread, or count it as lost."""
        if self._plain:
            self._write_plain()
        self._offer(kind, entry, payload, size)

    def _offer(self, kind: int, entry: Entry, payload: Any, size: int) -> None:
        size += _OVERHEAD
        waiting = self._offered - self._handled
        if waiting > self._bound:
            if not entry.lost:
                entry.lost = True
                entry.parts.clear()
                self.lost += 2 if entry.work is None else 1
            if kind != CLOSE or waiting > 2 * self._bound:
                return
            size = _OVERHEAD
        self._put((kind, entry, payload, size))
        if kind == CLOSE:
            if len(self._queued_until) >= self._many_callers:
                self._queued_until = {
                    caller: place for caller, place in self._queued_until.items() if place > self._handled
                }
                self._many_callers = max(MANY_CALLERS, 2 * len(self._queued_until))
            self._queued_until[entry.exchange.caller.account] = self._offered
        if waiting > HASTE and not self._hurried:  # a large event: a tick's worth of them would be tens of megabytes
            self._hurry()

    def _put(self, item: Item) -> None:
        self._offered += item[3]
        self._queue.append(item)
        if self._asleep:
            self._asleep = False
            self._bell.put(None)

    def nudge(self) -> None:
        """Let the thread process now what is waiting, and its chores."""
        self._queue.append((FLUSH, None, None, 0))
        self._hurry()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything offered so far is on disk; not from the loop's thread. False: timed out."""
        if not self._worker.is_alive():
            return False
        done = threading.Event()
        self._in_the_loop(lambda: self._finish(done))
        return done.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left and stop the thread; at most `timeout` seconds. Blocks: not for the loop's thread."""
        self._in_the_loop(self._stop)
        self._worker.join(timeout)
        if self._worker.is_alive():
            log.warning("chat logs: %d items were not written in time", len(self._queue))

    def _in_the_loop(self, step: Callable[[], None]) -> None:
        """Do `step` in the thread where exchanges end."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(step)
            except RuntimeError:  # closed: no more exchanges end there
                step()
        else:
            step()

    def _finish(self, done: threading.Event) -> None:
        self._write_plain()
        self._queue.append((FLUSH, None, done, 0))
        self._hurry()

    def _stop(self) -> None:
        self._write_plain()
        self._stopping = True
        self._hurry()

    def _hurry(self) -> None:
        self._hurried = True
        self._bell.put(None)

    def _wait(self, seconds: float | None) -> None:
        """Sleep for at most `seconds` (None: indefinitely) or until woken."""
        try:
            self._bell.get(timeout=max(seconds, 0.0) if seconds is not None else None)
            while True:
                self._bell.get_nowait()
        except Empty:
            return

    def _run(self) -> None:
        writer, queue = self.writer, self._queue
        quiet = 0
        while True:
            if queue:
                quiet = 0
                self._round(len(queue))
                self._check_chores(time.monotonic())
            elif self._stopping:
                break
            elif quiet < QUIET:
                quiet += 1
                self._check_chores(time.monotonic())
            else:
                due = writer.idle()
                self._asleep = True
                if not queue and not self._stopping:
                    self._wait(due)
                self._asleep = False
            if not self._hurried:
                self._wait(TICK)
            self._hurried = self._stopping
        writer.close()

    def _check_chores(self, now: float) -> None:
        """Do the chores that are due. By the clock, as a round takes as long as its items do."""
        if now >= self._chores_at:
            due = self.writer.idle()
            self._chores_at = now + (CHORES if due is None else min(due, CHORES))

    def _round(self, count: int) -> None:
        """Process the `count` waiting items in slices; later ones wait for the next round.

        Each switch between threads costs about 60 µs. Streams need many short slices, so that no chunk waits; if
        requests begin and end by the thousand, fewer, longer ones are better, because getting the lock from a busy
        loop takes a dozen futex calls (16 µs per exchange with slices of 1 ms, 19 with 0.3).
        """
        budget, pause = SLICE, PAUSE
        ended, self._ended_before = self.ended - self._ended_before, self.ended
        if max(ended, count) > MANY:
            budget, pause = 5 * SLICE, 10 * PAUSE
        if self.backlog > self._bound // 4:
            budget, pause = 25 * SLICE, PAUSE
        while count > 0:
            count -= self._slice(min(count, len(self._queue)), budget)
            if count > 0:
                self.writer.settle_some()
                if not self._stopping:
                    time.sleep(pause)
        self.writer.settle()

    def _slice(self, count: int, budget: float) -> int:
        """Process up to `count` items for about `budget` seconds; returns how many."""
        queue, handle, clock = self._queue, self.writer.handle, time.perf_counter
        until = clock() + budget
        for done in range(1, count + 1):
            kind, entry, payload, size = queue.popleft()
            try:
                handle(kind, entry, payload)
            except Exception:
                self.writer.failed += 1
                log.exception("a record could not be written")
            self._handled += size
            if clock() > until:
                return done
        return count
