"""Communication with the service manager, without dependencies or libsystemd.

The protocol is one datagram of `NAME=value` lines to the Unix socket in `$NOTIFY_SOCKET`
(https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html) and inherited sockets from descriptor 3 on
(https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html). Outside systemd every call here does
nothing, so the daemon need not check where it runs.
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
MAX_LAG = 5.0  # seconds by which the loop may be late and still count as alive
VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
)
"""Variables for this process only: an MCP server that inherited them could report us as ready, alive or dead."""


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """The connection to systemd: created once at start by `take`, kept for the life of the process.

    `watchdog` is the interval in seconds after which silence gets us killed (None: no watchdog); `fds` are the
    descriptors of the sockets that were opened for us.
    """

    address: str | None = None
    watchdog: float | None = None
    fds: tuple[int, ...] = ()

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> "ServiceManager":
        """Read systemd's variables and remove them from `environ` (pass `os.environ`), so that no child sees them.

        Values meant for another process (`LISTEN_PID`, `WATCHDOG_PID`) and invalid values are ignored.
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

        True if it was sent; False outside systemd, or if the manager is not listening: the daemon must continue without
        it. A newline in a value would begin another field, so it becomes a space.
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
            log.debug("service manager did not accept a message: %s", error)
            return False
        return True

    def ready(self, status: str) -> bool:
        """The listener is open, or a reload is over, successful or not. `status` is for people."""
        return self.notify(READY=1, STATUS=status)

    def reloading(self) -> bool:
        """A reload begins; `ready` must follow, even if it was refused.

        From v253 on `Type=notify-reload` waits for a MONOTONIC_USEC that is not older than its request: without it
        `systemctl reload` hangs until its timeout.
        """
        return self.notify(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000, STATUS="reloading")

    def stopping(self, within: float) -> bool:
        """The drain begins; the manager is asked to wait `within` seconds for its end."""
        return self.notify(STOPPING=1, STATUS="stopping", EXTEND_TIMEOUT_USEC=int(within * 1e6))

    def sockets(self) -> list[socket.socket]:
        """The listening stream sockets that were opened for us, non-blocking and not inherited by children.

        Any other descriptor is left alone and logged: the unit that passed it is wrong, but serving on the right ones
        is better than not serving.
        """
        found = []
        for fd in self.fds:
            try:
                sock = socket.socket(fileno=fd)
            except OSError as error:
                log.warning("descriptor %d from the service manager is not a socket: %s", fd, error)
                continue
            listening = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if not listening:
                log.warning("descriptor %d from the service manager is not a listening stream socket", fd)
                sock.detach()
                continue
            sock.set_inheritable(False)
            sock.setblocking(False)
            found.append(sock)
        return found

    async def feed_watchdog(self, healthy: Callable[[], bool]) -> None:
        """Report to the manager twice per interval that the event loop is running; ends only when cancelled.

        Runs on the loop, never in a thread, which would keep reporting while the loop is stuck. A beat is skipped while
        `healthy()` is false (for example without a listener) or if the loop was more than `MAX_LAG` seconds late.
        Returns at once without a watchdog.
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
    """A count or a time from the environment; 0 if it is missing, negative or not a number."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
