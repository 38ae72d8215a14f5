"""The state of conf/, by `stat` alone: enough to notice changes, or that there are none.

The change time is used, not the modification time: every write and rename updates it, and no editor can set it back.
"""

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".py", ".md", ".json")
"""Names that the configuration is read from; other files in conf/ (a log, a picture) may change freely."""

MAX_FOLDERS = 4000
_PASSED_OVER = frozenset({"__pycache__", "node_modules"})

Mark = tuple[int, int, int, int]
"""Change time, modification time (ns), size, inode."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One look. `roots` says which of the roots exist; `folders` are the directories to watch, by identity.

    `inner` are those of them that are ours: any change there may matter. In the others only `names` do.
    """

    files: Mapping[str, Mark] = field(default_factory=dict)
    roots: frozenset[str] = frozenset()
    folders: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    inner: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    newest: int = 0

    def same(self, other: "Tree") -> bool:
        """True if no file changed between the two looks, and no root appeared or disappeared."""
        return self.files == other.files and self.roots == other.roots

    def quiet_for(self) -> float:
        """Seconds since the last change of anything; negative if the clock was set back (or is another machine's)."""
        return time.time() - self.newest / 1e9

    def concerns(self, path: str) -> bool:
        """True if a change of `path` may affect the configuration."""
        return path in self.names or os.path.dirname(path) in self.inner  # noqa: PTH120 - called for every event


def look(roots: Iterable[Path]) -> Tree:
    """Look at `roots`: directories with everything below them, or single files. Blocks (1 ms for 200 files)."""
    return _Look().at([Path(os.path.abspath(root)) for root in roots])  # noqa: PTH100 - symbolic links stay


class _Look:
    def __init__(self) -> None:
        self.files: dict[str, Mark] = {}
        self.roots: set[str] = set()
        self.folders: dict[str, tuple[int, int]] = {}
        self.inner: set[str] = set()
        self.names: set[str] = set()
        self.newest = 0
        self._seen: set[tuple[int, int]] = set()

    def at(self, roots: Iterable[Path]) -> Tree:
        for root in roots:
            self._outside(root)
            try:
                status = root.stat()
            except (OSError, ValueError):
                continue
            self.roots.add(str(root))
            if stat.S_ISDIR(status.st_mode):
                self._walk(str(root))
            else:
                self._file(str(root), status)
        return Tree(
            self.files, frozenset(self.roots), self.folders, frozenset(self.inner), frozenset(self.names), self.newest
        )

    def _walk(self, root: str) -> None:
        waiting = [root]
        while waiting and len(self._seen) < MAX_FOLDERS:
            folder = waiting.pop()
            try:
                status = os.stat(folder)  # noqa: PTH116 - a thousand of these a second must cost nothing
                with os.scandir(folder) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError:
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in self._seen:  # a link that leads back, or a root inside another
                continue
            self._seen.add(identity)
            self.folders[folder] = identity
            self.inner.add(folder)
            self.newest = max(self.newest, status.st_mtime_ns)
            waiting.extend(self._subfolders(entries))

    def _subfolders(self, entries: Iterable[os.DirEntry[str]]) -> Iterator[str]:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.endswith("~") or name in _PASSED_OVER:
                continue
            try:
                if entry.is_symlink():
                    self._outside(Path(entry.path))
                if entry.is_dir():
                    yield entry.path
                elif name.endswith(SUFFIXES):
                    self._file(entry.path, entry.stat())
            except OSError:  # a link to nowhere, or gone meanwhile
                continue

    def _file(self, path: str, status: os.stat_result) -> None:
        self.files[path] = (status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino)
        self.newest = max(self.newest, status.st_ctime_ns)

    def _outside(self, path: Path) -> None:
        """Watch the directory of `path` and, if it is a link, each directory that it leads through."""
        for _ in range(8):
            self.names.add(str(path))
            parent = path.parent
            while not parent.is_dir() and parent != parent.parent:
                self.names.add(str(parent))  # it may appear later
                parent = parent.parent
            try:
                status = parent.stat()
                self.folders.setdefault(str(parent), (status.st_dev, status.st_ino))
                target = os.readlink(path)  # noqa: PTH115 - relative targets are joined below
            except OSError:
                return
            path = Path(os.path.normpath(path.parent / target))
