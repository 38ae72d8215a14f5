"""One daemon per state directory: two would overwrite each other's counters, sessions and lessons."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from openai_proxy.errors import ProxyError

log = logging.getLogger(__name__)

FILE: Final = "daemon.lock"


class StateInUse(ProxyError):
    """Another daemon uses the same state directory."""

    default_code = "state_in_use"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Lock `directory` for this process. Raises StateInUse if another daemon has it.

    The kernel holds the lock (flock), so a killed daemon leaves none behind; the file itself stays, with the pid of its
    last owner. A directory that is not writable is used without a lock, because nothing is stored there.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        log.warning("the state directory cannot be locked: %s", error.strerror)
        yield
        return
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        process = f" (process {number})" if number.isdigit() else ""
        raise StateInUse(
            f"Another daemon{process} is using the state directory {directory}. "
            "Stop it, or give this one its own directory with --state-dir."
        ) from None
    except OSError as error:  # some network file systems do not support locks
        log.warning("the state directory cannot be locked: %s", error.strerror)
        return
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
