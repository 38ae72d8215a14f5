"""Notices that something under conf/ or the `.env` changed, however it was saved, and informs the reloads.

One thread waits for the kernel (inotify by watchfiles' Rust core), looks at the files, and passes the result to the
event loop. Directories are watched, never files: an editor that saves by renaming replaces the file under the watch.
Parents and the targets of links are watched too, so that a directory may be replaced, or appear later. On network file
systems, and where inotify fails, the thread polls twice a second; watchfiles' own polling compares whole seconds, and
misses the second of two edits within one.

Only the core is imported (0.8 MB): the package around it imports anyio, and another megabyte.
"""

import asyncio
import importlib.machinery
import importlib.util
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from openai_proxy.runtime.tree import Tree, look

log = logging.getLogger(__name__)

STEP = 50  # milliseconds between two reads of kernel events; far below the 150 for which files must be stable
GATHER = 400  # maximum milliseconds for which a storm of events is collected
PATIENCE = 1000  # milliseconds after which the wait is restarted, to check whether the roots are still the same
LOOK_ANYWAY = 30.0  # seconds after which conf/ is checked even without events: the kernel's queue may have overflowed
POLL = 0.5  # seconds between two looks when polling: 1 ms of work for 200 files
RETRY = 1.0  # seconds to wait after a watch has failed
RETRY_GONE = 0.05  # and after a directory disappeared while the watch was being set up

REMOTE = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "virtiofs", "vboxsf",
    "prl_fs", "vmhgfs", "davfs", "beegfs", "gpfs", "ocfs2", "gfs2", "drvfs", "wslfs",
})  # fmt: skip
"""File systems where another machine can write without our kernel noticing; so is every fuse.* one."""


def is_remote(paths: Iterable[Path], mountinfo: str | None = None) -> bool:
    """True if one of `paths` (or the directory it would appear in) is on a network or FUSE file system."""
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:  # not Linux
            return False
    mounts = dict(_mounts(mountinfo))
    for path in paths:
        place = path.resolve()
        kind = next((mounts[str(at)] for at in (place, *place.parents) if str(at) in mounts), "")
        if kind in REMOTE or kind.startswith("fuse"):
            return True
    return False


def _mounts(text: str) -> Iterable[tuple[str, str]]:
    """(mount point, type) of each line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw` (proc(5))."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after:
            point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
            yield point, after.split(" ")[0]


def notifier() -> Any:
    """watchfiles' RustNotify, without the package around it."""
    name = "watchfiles._rust_notify"
    module: ModuleType | None = sys.modules.get(name)
    if module is None:
        package = importlib.util.find_spec("watchfiles")
        assert package is not None
        spec = importlib.machinery.PathFinder.find_spec(name, package.submodule_search_locations)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module.RustNotify


class Watcher:
    """`roots` returns what to watch at the moment; `noticed` is called on the loop with every look that may matter."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        roots: Callable[[], Sequence[Path]],
        noticed: Callable[[Tree], None],
    ) -> None:
        self._loop = loop
        self._roots = roots
        self._noticed = noticed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch conf", daemon=True)
        self.polling = False

    def start(self) -> None:
        """Start watching. What has changed since conf/ was read is noticed at once."""
        self.polling = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() in {"1", "true", "enable"}
        self.polling = self.polling or is_remote(self._roots())
        self._thread.start()

    def stop(self) -> None:
        """End the thread soon; not waited for."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except FileNotFoundError:
                self._stop.wait(RETRY_GONE)
            except Exception as error:
                self._fall_back(error)
                self._stop.wait(RETRY)

    def _fall_back(self, error: Exception) -> None:
        if self.polling or self._stop.is_set():
            log.debug("watching conf/: %s", error)
            return
        self.polling = True
        log.warning("conf/ cannot be watched (%s); it is polled twice a second instead", error)

    def _watch(self) -> None:
        """Watch the present directories, until others matter."""
        roots = self._roots()
        tree = look(roots)
        folders = [*tree.folders]
        if self.polling or not folders:
            self._poll(self._report(roots))
            return
        notify = notifier()(folders, False, False, 0, False, True)
        try:
            while not self._stop.is_set():
                before, tree = tree, self._report(self._roots())  # at first: what changed before the watch existed
                if before.folders != tree.folders:
                    return
                self._wait(notify, tree)
        finally:
            notify.close()

    def _poll(self, tree: Tree) -> None:
        while not self._stop.wait(POLL):
            now = look(self._roots())
            if not now.same(tree):
                tree = self._report(self._roots())

    def _wait(self, notify: Any, tree: Tree) -> None:
        """Wait until something relevant happened, or it is time to look anyway."""
        roots, deadline = self._roots(), time.monotonic() + LOOK_ANYWAY
        while not self._stop.is_set() and self._roots() == roots and time.monotonic() < deadline:
            found = notify.watch(GATHER, STEP, PATIENCE, self._stop)
            if not isinstance(found, str) and any(tree.concerns(path) for _, path in found):
                return

    def _report(self, roots: Sequence[Path]) -> Tree:
        tree = look(roots)
        try:
            self._loop.call_soon_threadsafe(self._noticed, tree)
        except RuntimeError:  # the loop has ended
            self._stop.set()
        return tree
