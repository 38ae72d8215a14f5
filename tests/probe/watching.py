"""A process that polls `/health` and reports how long it had to wait."""

import contextlib
import http.client
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

EVERY = 0.003  # seconds between two polls
PATIENCE = 60.0  # seconds for one answer


def processor_time(pid: int) -> float:
    """Processor time of the threads of a process in seconds, to the nanosecond; ended threads do not count."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def delayed(pid: int) -> float:
    """Seconds for which the first thread of a process, its event loop, was ready to run and had no processor."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9


def watch(address: tuple[str, int], pid: int, ear: Connection) -> None:
    """Poll `/health` until stopped; report on request, in seconds, the longest wait and the longest without the work of
    others: without the time in which the event loop had no processor, and at most the processor time that the daemon
    used meanwhile.
    """
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    longest = most = 0.0
    while True:
        if ear.poll():
            if ear.recv() is None:
                return
            ear.send((longest, most))
            longest = most = 0.0
        began, before, late = time.perf_counter(), processor_time(pid), delayed(pid)
        connection.request("GET", "/health")
        connection.getresponse().read()
        waited = time.perf_counter() - began
        longest = max(longest, waited)
        most = max(most, min(waited - (delayed(pid) - late), processor_time(pid) - before))
        time.sleep(EVERY)


class Watcher:
    """Watches one daemon until it is stopped."""

    def __init__(self, address: tuple[str, int], pid: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._mouth, ear = context.Pipe()
        self._process = context.Process(target=watch, args=(address, pid, ear), daemon=True)
        self._process.start()

    def told(self) -> tuple[float, float]:
        """The longest wait since the last call, and the longest without the work of other processes, in seconds."""
        self._mouth.send(True)
        if not self._mouth.poll(PATIENCE):
            raise TimeoutError(f"/health did not answer for {PATIENCE:.0f} s")
        longest, most = self._mouth.recv()
        return longest, most

    def end(self) -> None:
        """Stop watching."""
        self._mouth.send(None)
        self._process.join(PATIENCE)
