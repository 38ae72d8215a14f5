"""What the service manager tells us at start, and what we tell it while we run. No dependency, no libsystemd.

The protocol is one datagram of `NAME=value` lines to the Unix socket in `$NOTIFY_SOCKET`
(https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html) and inherited sockets from descriptor 3 on
(https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html). Outside systemd every call here does
nothing, so the daemon never asks where it runs.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

log = logging.getLogger(__name__)

FIRST_FD = 3  # SD_LISTEN_FDS_START
MAX_LAG = 5.0  # seconds the loop may have been late and still be called alive
VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
)
"""What belongs to this process alone: an MCP server that inherited it could report us ready, alive or dead."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """The line to systemd: made once at start by `take`, kept for the life of the process.

    `watchdog` is the interval in seconds after which silence gets us killed (None: nobody watches); `fds` are the
    descriptors of the sockets that were opened for us.
    """

    address: str | None = None
    watchdog: float | None = None
    fds: tuple[int, ...] = ()

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """Read systemd's variables and remove them from `environ` (give it `os.environ`), so that no child sees them.

        Values meant for another process (`LISTEN_PID`, `WATCHDOG_PID`) and values that make no sense are as if unset.
        """
        found = {name: environ.pop(name) for name in VARIABLES if name in environ}
        address = found.get("NOTIFY_SOCKET", "")
        ours = str(os.getpid())
        usec = _number(found.get("WATCHDOG_USEC")) if found.get("WATCHDOG_PID", ours) == ours else 0
        count = _number(found.get("LISTEN_FDS")) if found.get("LISTEN_PID") == ours else 0
        return cls(
            address=address if address.startswith(("/", "@")) else None,
            watchdog=usec / 1e6 if usec > 0 else None,
            fds=tuple(range(FIRST_FD, FIRST_FD + count)),
        )

    def notify(self, **fields: str | int) -> bool:
        """Send one datagram of `fields`, such as `READY=1, STATUS="serving"`. Never blocks, never raises.

        True if it was handed over; False outside systemd, or if the manager does not listen: the daemon must go on
        without it. A newline in a value would begin a field of its own, so it becomes a space.
        """
        if self.address is None:
            return False
        text = "\n".join(f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
        target = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(errors="replace"), target)
        except OSError as error:
            log.debug("service manager did not take a message: %s", error)
            return False
        return True

    def ready(self, status: str) -> bool:
        """The listener is open (or, after `reloading`, the reload is over, well or badly). `status` is for people."""
        return self.notify(READY=1, STATUS=status)

    def reloading(self, status: str = "reloading") -> bool:
        """A reload begins; `ready` must follow, after a refused one too.

        From v253 on `Type=notify-reload` waits for a MONOTONIC_USEC that is not older than its request: without it
        `systemctl reload` hangs until its timeout.
        """
        return self.notify(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000, STATUS=status)

    def stopping(self, status: str = "stopping", *, within: float | None = None) -> bool:
        """The drain begins. `within` seconds, where given, is how long the manager is asked to wait for it."""
        if within is None:
            return self.notify(STOPPING=1, STATUS=status)
        return self.notify(STOPPING=1, STATUS=status, EXTEND_TIMEOUT_USEC=int(within * 1e6))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self.notify(STATUS=text)

    def sockets(self) -> list[socket.socket]:
        """The listening stream sockets that were opened for us, non-blocking and not inherited by children.

        A descriptor that is no listening stream socket is left alone and named in the log: the unit that passed it
        is wrong, and serving on what is right beats not serving.
        """
        found = []
        for fd in self.fds:
            try:
                sock = socket.socket(fileno=fd)
            except OSError as error:
                log.warning("descriptor %d from the service manager is no socket: %s", fd, error)
                continue
            listening = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if not listening:
                log.warning("descriptor %d from the service manager is no listening stream socket", fd)
                sock.detach()
                continue
            sock.set_inheritable(False)
            sock.setblocking(False)
            found.append(sock)
        return found

    async def feed_watchdog(self, healthy: Callable[[], bool]) -> None:
        """Tell the manager twice in each interval that the event loop turns; ends only when cancelled.

        Runs on the loop and never in a thread: a thread would go on feeding while the loop is stuck. A beat is left
        out while `healthy()` is false (say the listener is gone) or if the loop came back more than `MAX_LAG` seconds
        late. Returns at once where nobody watches.
        """
        if self.watchdog is None:
            return
        pause = self.watchdog / 2
        late = 0.0
        while True:
            if late < min(MAX_LAG, pause) and healthy():
                self.notify(WATCHDOG=1)
            due = time.monotonic() + pause
            await asyncio.sleep(pause)
            late = time.monotonic() - due


def _number(text: str | None) -> int:
    """A count or a time from the environment; 0 for what is missing, negative or no number."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
