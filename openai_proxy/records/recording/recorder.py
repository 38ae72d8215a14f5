"""The hot side of the records: what a request costs the event loop while it is being written down.

A relay that streams at 12 µs a chunk can spare a tenth of one. So `Entry.data` appends to a list and adds to a
number, and opening and closing an entry fill a few slots. Exchanges that are small and plain are made into lines by the
loop itself, BATCH at a time (`express.py`); everything else (inflating, JSON, folding, scrubbing, writing) is done by
one thread of the recorder (`scribe.py`), which

- looks every TICK while there is work, and is woken only out of its sleep: a wake-up is a futex and a switch of the
  interpreter lock, dearer than the work;
- works in slices with pauses between them, because what it computes the loop cannot: a chunk may wait for one slice;
- gets longer slices when it falls behind, and past BACKLOG bytes is given nothing more: those lines are lost and
  counted, and no request waits.

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
from openai_proxy.records.recording.entry import CLOSE, FLUSH, LINES, SMALL, Entry, Item, Keeper
from openai_proxy.records.recording.recorder_thread import Scribe
from openai_proxy.records.recording.short_line import Express

log = logging.getLogger(__name__)

SPILL: Final = ((250, 16384), (500, 8192), (2000, 4096), (1 << 60, 2048))
"""Up to so many open entries, the bytes one holds before the thread folds them. Larger blocks fold cheaper (0.9 µs a
chunk at 8 KiB, 1.6 at 2 KiB); but thousands of held streams are judged by their memory, and each speaks little."""
BACKLOG: Final = 64 * 1024 * 1024  # bytes waiting for the thread, past which lines are lost
HASTE: Final = 1024 * 1024
"""Bytes waiting, past which the thread does not wait for its next tick: 26,000 exchanges a second make 2 MB in one."""
TICK: Final = 0.04  # seconds between two rounds
QUIET: Final = 30  # rounds in a row with nothing to do, after which the thread sleeps until it is woken
CHORES: Final = 30  # rounds between two looks at what else is due, while there is work
PAUSE: Final = 0.00005  # seconds between two slices; a sleep of zero would take the lock back before the loop wakes
SLICE: Final = 0.0002  # seconds of one slice with little to do
MANY: Final = 64  # exchanges that ended since the last round, past which its slices are longer
BATCH: Final = 32
"""Plain exchanges the loop makes into lines at one time. One by one takes 16 µs each, most of it for code that has
left the processor's cache since the last; in a row 7. In the thread it took 14: it cannot compute while the loop does,
and each change of the interpreter lock costs both."""
_OVERHEAD: Final = 300  # bytes an item weighs besides its payload


class Recorder(Keeper):
    """Everything that is written down, for the life of the process. See `Scribe` for what becomes of an entry."""

    def __init__(
        self, scribe: Scribe, loop: asyncio.AbstractEventLoop | None = None, *, backlog: int = BACKLOG
    ) -> None:
        """Without a `loop` nothing waits for others: each exchange is made into lines as it ends."""
        self.scribe = scribe
        self._express = Express(scribe)
        self.metrics = scribe.metrics
        self.started = 0  # entries opened …
        self.ended = 0  # … and closed
        self.lost = 0  # lines that were never queued
        self._queue: deque[Item] = deque()
        self._offered = 0  # bytes, counted by the loop …
        self._handled = 0  # … and by the thread: two counters need no lock
        self._bound = backlog
        self._ended_before = 0
        self._asleep = False
        self._stopping = False
        self._hurried = False
        self._loop = loop
        self._plain: list[Entry] = []  # ended, small, and not looked at yet
        self._timer: asyncio.TimerHandle | None = None
        self._bell: SimpleQueue[None] = SimpleQueue()  # in C: an Event's wait takes three locks and 5 µs
        self._worker = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._worker.start()
        scribe.metrics.active = self.active
        scribe.metrics.lost_lines = self.lost_lines

    def open(self, exchange: Exchange, *, resolved: bool = True) -> Entry:
        """Begin to record `exchange`. `resolved`: its model name is one we know, so it may name a file."""
        self.started += 1
        limit = SPILL[0][1]
        if (number := self.started - self.ended) > SPILL[0][0]:
            limit = next(limit for bound, limit in SPILL if number <= bound)
        return Entry(self, exchange, resolved, exchange.endpoint.metered, limit)

    def active(self) -> int:
        """Entries that are open."""
        return self.started - self.ended

    def lost_lines(self) -> int:
        """Lines that were lost, to a full backlog or a full disk."""
        return self.lost + self.scribe.lost

    @property
    def backlog(self) -> int:
        """Bytes that wait for the thread."""
        return self._offered - self._handled

    def closed(self, entry: Entry) -> None:
        """An exchange is over. What may be plain is made into lines here, with others; the rest by the thread."""
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
        """Make lines of the exchanges that ended lately, and hand them to the thread."""
        plain, self._plain = self._plain, []
        express = self._express
        # Past half of the bound the general way decides what is lost. Not before: its items hold parsed requests.
        short = self._offered - self._handled < self._bound // 2 and not self.scribe.detailed()
        for entry in plain:
            try:
                if short and express.record(entry):
                    continue
            except Exception:
                self.scribe.failed += 1
                log.exception("an exchange could not be recorded the short way")
            self._hand_over()  # lines stand in the order in which exchanges ended
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
        if waiting > HASTE and not self._hurried:  # a large event: a tick of it would be tens of megabytes
            self._hurry()

    def _put(self, item: Item) -> None:
        self._offered += item[3]
        self._queue.append(item)
        if self._asleep:
            self._asleep = False
            self._bell.put(None)

    def nudge(self) -> None:
        """Let the thread do now what is waiting, and look at its chores."""
        self._queue.append((FLUSH, None, None, 0))
        self._hurry()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was offered so far is on disk; from another thread than the loop's. False: timed out."""
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
        """Do `step` where exchanges end."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(step)
            except RuntimeError:  # closed: nothing ends there any more
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
        """Sleep for at most `seconds` (None: as long as it takes) or until the bell rings."""
        try:
            self._bell.get(timeout=max(seconds, 0.0) if seconds is not None else None)
            while True:
                self._bell.get_nowait()
        except Empty:
            return

    def _run(self) -> None:
        scribe, queue = self.scribe, self._queue
        quiet = rounds = 0
        while True:
            if queue:
                quiet = 0
                self._round(len(queue))
                rounds += 1
                if rounds % CHORES == 0:
                    scribe.idle()
            elif self._stopping:
                break
            elif quiet < QUIET:
                quiet += 1
            else:
                due = scribe.idle()
                self._asleep = True
                if not queue and not self._stopping:
                    self._wait(due)
                self._asleep = False
            if not self._hurried:
                self._wait(TICK)
            self._hurried = self._stopping
        scribe.close()

    def _round(self, count: int) -> None:
        """Handle the `count` items at hand, in slices; what comes meanwhile waits for the next round.

        Each change of hands costs about 60 µs. Many short slices for streams, so that no chunk waits; fewer, longer
        ones where requests end by the thousand, or nothing but changing hands would be done: to get the lock from a
        busy loop takes a dozen futex calls (16 µs an exchange with slices of 1 ms, 19 with 0.3).
        """
        budget, pause = SLICE, PAUSE
        ended, self._ended_before = self.ended - self._ended_before, self.ended
        if ended > MANY:
            budget, pause = 5 * SLICE, 10 * PAUSE
        if self.backlog > self._bound // 4:
            budget, pause = 25 * SLICE, PAUSE
        while count > 0:
            count -= self._slice(min(count, len(self._queue)), budget)
            if count > 0:
                self.scribe.settle_some()
                if not self._stopping:
                    time.sleep(pause)
        self.scribe.settle()

    def _slice(self, count: int, budget: float) -> int:
        """Handle up to `count` items for about `budget` seconds; how many it were."""
        queue, handle, clock = self._queue, self.scribe.handle, time.perf_counter
        until = clock() + budget
        for done in range(1, count + 1):
            kind, entry, payload, size = queue.popleft()
            try:
                handle(kind, entry, payload)
            except Exception:
                self.scribe.failed += 1
                log.exception("a record could not be written")
            self._handled += size
            if clock() > until:
                return done
        return count
