"""The cost of a client that requests an endless answer and never reads it."""

import re
import subprocess
import time

from tests.harness.daemon import Daemon
from tests.harness.plays import SSE_HEAD, chunk, delta
from tests.harness.upstream import Peer, Upstream
from tests.probe.cases import FAMILY

WARM = 20  # first, to warm up: the caches and the heap of the daemon grow once
READERS = 50
GOAL = 256  # KiB of each
SETTLED = 5.0  # seconds without anything written to or read for any of them


def cost_of_readers(daemon: Daemon, upstream: Upstream) -> int:
    """Print the cost of each of READERS in daemon and kernel; returns how many kinds of model exceed the goal."""

    async def talk(peer: Peer) -> None:
        while True:
            await peer.send(chunk(delta("one word after the other, and no end of it ")))

    over = 0
    print(f"\n{READERS} clients that do not read")
    for model in ("main:plain", "house"):
        play = upstream.play(SSE_HEAD, talk)
        resident = kernel = asked = 0
        for number in (WARM, READERS):
            resident, kernel = daemon.rss(), in_kernel(daemon)
            for _ in range(number):
                wire = daemon.wire(receive_buffer=4096)
                wire.chat(model, stream=True, key=FAMILY, headers=[("X-Play", play.model)])
                asked += 1
                play.begun(asked)
            time.sleep(SETTLED)
        own = (daemon.rss() - resident) / READERS / 1024
        kernels = (in_kernel(daemon) - kernel) / READERS / 1024
        over += own + kernels > GOAL
        print(f"{model:12} {own + kernels:6.0f} KiB each: {own:.0f} in the daemon, {kernels:.0f} in its sockets")
        daemon.close_wires()
        for number in range(asked):
            play.begun(number + 1).gone()
    return over


def in_kernel(daemon: Daemon) -> int:
    """Kernel memory for the daemon's sockets, overhead included: received and unsent bytes."""
    found = subprocess.run(["ss", "-tmnpOH"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in found.splitlines() if f"pid={daemon.process.pid}," in line]
    return sum(int(size) for line in mine for size in re.findall(r"[(,][rw](\d+)", line))
