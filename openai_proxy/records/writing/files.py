"""Append-only files of lines in one directory, whatever happens to the disk.

One `os.write` for the collected lines; after a short write the file is cut back to the last whole line; a full,
read-only or broken disk costs lines (counted), never an exception, and is retried after RETRY_AFTER seconds; a renamed
or deleted file or directory is opened anew. Used by one thread at a time.

Measured (Linux 6, RLIMIT_FSIZE): the first write past the limit is short, the second is EFBIG.
"""

import errno
import logging
import os
import resource
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

RETRY_AFTER = 30.0  # seconds until a failed disk is retried
MAX_OPEN = 256  # file descriptors, or …
SHARE = 16  # … one of so many that the process may have: clients and providers need them, too
IDLE = 3.0  # seconds after its last line that a file is kept open: between two lines of a turn
LET_GO = 0.6  # seconds until a deleted file is noticed even without new lines: it takes space while it is open
RECHECK = 0.05  # seconds between two looks at the directory
CALM = 3.0
"""Seconds after a change of the directory until its next one certainly has another time: FAT counts in steps of 2 s."""
ANYWAY = 3.0
"""Seconds after which names are compared even if the directory shows no change: a union of several disks (mergerfs) may
show the time of a disk that has not changed.
"""
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NONE_LEFT = {errno.EMFILE, errno.ENFILE}
_WHOLE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOTDIR}


class _Open:
    """An open file: its descriptor, its identity, and after which change of the directory its name was checked."""

    __slots__ = ("change", "fd", "identity", "torn", "used")

    def __init__(self, fd: int, identity: tuple[int, int], torn: bool) -> None:
        self.fd = fd
        self.identity = identity
        self.torn = torn  # it does not end in a newline after a crash, or a write that could not be cut back
        self.change = 0
        self.used = 0.0


class LineFiles:
    """The files of one directory. `written` and `lost` count lines; `degraded` names the last fault or is None."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self.written = 0
        self.lost = 0
        self.degraded: str | None = None
        self._clock = clock
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = MAX_OPEN if files == resource.RLIM_INFINITY else min(MAX_OPEN, max(files // SHARE, 1))
        self._directory_fd: int | None = None
        self._directory_checked = 0.0
        self._directory_time = 0  # when it was last changed, in ns since the epoch
        self._restless = True  # that was so recently that another change may have left the same time
        self._compared_at = 0.0
        self._change = 0  # goes up whenever a name in the directory may have changed
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._retry_at: dict[str, float] = {}  # file name, or "" for all of them -> time of the next attempt

    def append(self, name: str, data: bytes, count: int = 1) -> bool:
        """Append `data`, which is `count` whole lines, to `name`; False if any of them was lost."""
        now = self._clock()
        if self._retry_at and (self._must_wait("", now) or self._must_wait(name, now)):
            self.lost += count
            return False
        try:
            done = self._write(self._file(name, now), data, count)
        except OSError as error:
            self._fault(name, error, now)
            done = 0
        else:
            if done < count:
                self._report(OSError(errno.ENOSPC, ""))
                self._retry_at[name] = now + RETRY_AFTER
            elif not self._retry_at and self.degraded is not None:
                self.degraded = None
                log.info("logs are written to %s again", self.directory)
        self.written += done
        self.lost += count - done
        return done == count

    def try_directory(self) -> None:
        """Check whether the directory is writable, to report problems now rather than with the first line."""
        try:
            self._look_at_directory(self._clock())
            if self._directory_fd is None:
                self._open_directory()
            if not os.access(self.directory, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            self._report(error)

    def close(self) -> None:
        """Close every descriptor. The files may be appended to again afterwards."""
        while self._open:
            os.close(self._open.popitem()[1].fd)
        if self._directory_fd is not None:
            os.close(self._directory_fd)
            self._directory_fd = None

    def close_idle(self, now: bool) -> float | None:
        """Close what was deleted or renamed, and what has not been written to for a while (all if `now`).

        Returns seconds until there may be more to close, None if nothing is open, not even the directory: its disk can
        be unmounted.
        """
        at = self._clock()
        if self._open and not now:
            self._look_at_directory(at)
            for name, file in tuple(self._open.items()):
                self._still_named(name, file)
        while self._open:
            name, file = next(iter(self._open.items()))  # the one that has been idle longest
            if not now and (wait := file.used + IDLE - at) > 0:
                return min(wait, LET_GO)
            self._drop(name)
        self.close()
        return None

    def remove_older(self, seconds: float, keep: frozenset[str] = frozenset()) -> Iterator[int]:
        """Delete `model_conversation.jsonl` files not written for `seconds`, a few per step; yields how many."""
        limit = time.time() - seconds
        try:
            entries = os.scandir(self.directory)
        except OSError:
            return
        with entries:
            for number, entry in enumerate(entries):
                gone = 0
                try:
                    if (
                        entry.name.endswith(".jsonl")
                        and "_" in entry.name
                        and entry.name not in keep
                        and entry.is_file(follow_symlinks=False)
                        and entry.stat(follow_symlinks=False).st_mtime < limit
                    ):
                        os.unlink(entry.path)  # noqa: PTH108 (a scandir entry, not a Path)
                        gone = 1
                except OSError:
                    gone = 0
                if gone or number % 50 == 49:
                    yield gone

    def _must_wait(self, name: str, now: float) -> bool:
        until = self._retry_at.get(name)
        if until is None:
            return False
        if now < until:
            return True
        del self._retry_at[name]
        return False

    def _fault(self, name: str, error: OSError, now: float) -> None:
        code = error.errno or 0
        self._report(error)
        self._drop(name)
        if code in _WHOLE_DISK:
            self._retry_at[""] = now + RETRY_AFTER
        else:
            if len(self._retry_at) > 1000:
                self._retry_at.clear()
            self._retry_at[name] = now + RETRY_AFTER

    def _report(self, error: OSError) -> None:
        reason = os.strerror(error.errno or 0)
        if self.degraded != reason:
            log.warning("logs cannot be written to %s: %s; requests continue without", self.directory, reason.lower())
        self.degraded = reason

    def _file(self, name: str, now: float) -> _Open:
        if now - self._directory_checked > RECHECK:
            self._look_at_directory(now)
        if self._directory_fd is None:
            self._open_directory()
        file = self._open.get(name)
        if file is None or not self._still_named(name, file):
            file = self._open[name] = self._open_file(name)
            if len(self._open) > self._most:
                self._close_oldest()
        else:
            self._open.move_to_end(name)
        file.used = now
        return file

    def _look_at_directory(self, now: float) -> None:
        """Notice whether names in the directory may have changed; close everything if it is another one or gone."""
        self._directory_checked = now
        if self._directory_fd is None:
            return
        try:
            named, held = self.directory.stat(), os.fstat(self._directory_fd)
        except OSError:
            self.close()
            return
        if (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            self.close()
            return
        if self._restless or named.st_mtime_ns != self._directory_time or now - self._compared_at > ANYWAY:
            self._change += 1
            self._compared_at = now
        self._directory_time = named.st_mtime_ns
        self._restless = time.time() - named.st_mtime < CALM

    def _open_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._restless = True

    def _still_named(self, name: str, file: _Open) -> bool:
        """True if the open file has its name; otherwise it is closed."""
        if file.change != self._change:
            file.change = self._change
            try:
                found = os.stat(name, dir_fd=self._directory_fd, follow_symlinks=False)
            except OSError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != file.identity:
                self._drop(name)
                return False
        return True

    def _open_file(self, name: str) -> _Open:
        while True:
            try:
                fd = os.open(name, _FLAGS, 0o600, dir_fd=self._directory_fd)
                break
            except OSError as error:
                if error.errno not in _NONE_LEFT or not self._open:
                    raise
                self._close_oldest()
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            torn = found.st_size > 0 and os.pread(fd, 1, found.st_size - 1) != b"\n"
        except OSError:
            os.close(fd)
            raise
        opened = _Open(fd, (found.st_dev, found.st_ino), torn)
        opened.change = self._change
        return opened

    def _close_oldest(self) -> None:
        """Close the file that has been idle longest."""
        os.close(self._open.popitem(last=False)[1].fd)

    def _drop(self, name: str) -> None:
        file = self._open.pop(name, None)
        if file is not None:
            os.close(file.fd)

    def _write(self, file: _Open, data: bytes, count: int) -> int:
        """Write `data` in one call; returns how many of its lines are complete in the file afterwards."""
        if file.torn:
            data = b"\n" + data
        wrote = os.write(file.fd, data)
        if wrote == len(data):
            file.torn = False
            return count
        # Short: complete lines stay, the partial one is cut off.
        whole = data.rfind(b"\n", 0, wrote) + 1
        os.ftruncate(file.fd, os.fstat(file.fd).st_size - (wrote - whole))
        done = data.count(b"\n", 0, whole) - (1 if file.torn and whole else 0)
        file.torn = file.torn and whole == 0
        return done
