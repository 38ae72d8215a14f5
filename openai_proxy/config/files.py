"""Reading conf/: only regular files of limited size, without ever waiting for a pipe or loading 100 MB."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from openai_proxy.config.yaml_text import MAX_BYTES

MAX_SKILL_DEPTH = 6  # https://agentskills.io/client-implementation/adding-skills-support asks for 4 to 6
MAX_SKILL_FOLDERS = 2000
_PASSED_OVER = frozenset({"node_modules", "__pycache__"})


class Unreadable(Exception):
    """A file that exists but cannot be read; its text says why."""


@dataclass(frozen=True, slots=True)
class PythonFile:
    """One of the owner's Python files: path, SHA-256 and bytes, so that what is imported is what was hashed."""

    path: Path
    digest: str
    source: bytes = field(repr=False, compare=False, default=b"")


@dataclass(frozen=True, slots=True)
class SkillPlace:
    """A skill's location: its file, its id, its folder if it is one, and the folders that lead to it."""

    file: Path
    id: str
    folder: Path | None
    owner: str | None


_changes: Final[ContextVar[Mapping[Path, bytes | None]]] = ContextVar(
    "changes being validated", default=MappingProxyType({})
)


@contextlib.contextmanager
def changed(changes: Mapping[Path, bytes | None]) -> Iterator[None]:
    """In this thread, read as if these files had these contents; None: as if the file did not exist."""
    token = _changes.set(changes)
    try:
        yield
    finally:
        _changes.reset(token)


OURS = ("proxy.yaml", "proxy.yml", "models", "mcp", "skills", "tools", ".schemas")
"""The files and folders that mark a conf/; Python files (validators, local models) count, too."""


_NOBODYS = ("lost+found", ".gitkeep", ".DS_Store")


def directory_trouble(directory: Path, *, empty_is_fine: bool) -> str | None:
    """Why `directory` cannot be a conf/: it does not exist, or contains only other things. None if it can."""
    make = f"`openai-proxy init {directory}` creates one"
    try:
        found = [entry.name for entry in directory.iterdir() if entry.name not in _NOBODYS]
    except FileNotFoundError:
        return f"there is no such directory; {make}"
    except NotADirectoryError:
        return "this is a file; expected the directory with proxy.yaml, models/ and the others"
    except OSError as error:
        return _why(error)
    if any(name in OURS or name.endswith(".py") for name in found) or (not found and empty_is_fine):
        return None
    return f"there is no proxy.yaml, models/, mcp/, skills/ or tools/ in this directory; {make}"


def digest_of(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path, limit: int = MAX_BYTES) -> bytes | None:
    """The bytes of a regular file of at most `limit` bytes; None if it does not exist; otherwise raises Unreadable."""
    if path in (changes := _changes.get()):
        return changes[path]
    try:
        # Non-blocking: opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(_why(error)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("this is a directory, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("this is not a regular file")
        if status.st_size > limit:
            raise Unreadable(f"the file is larger than {limit >> 20} MiB ({status.st_size:,} bytes)")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unreadable(_why(error)) from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise Unreadable(f"the file is larger than {limit >> 20} MiB")
    return data


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return "cannot be read: its permissions forbid it"
    return f"cannot be read: {(getattr(error, 'strerror', None) or 'not a usable path').lower()}"


def names(directory: Path) -> list[str]:
    """The sorted names in a directory except hidden and backup files; none if it does not exist; or Unreadable."""
    try:
        found = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise Unreadable(_why(error)) from None
    found = _as_changed(directory, found)
    return sorted(name for name in found if not name.startswith(".") and not name.endswith("~"))


def _as_changed(directory: Path, found: list[str]) -> list[str]:
    there = set(found)
    for path, data in _changes.get().items():
        if path.parent == directory:
            (there.discard if data is None else there.add)(path.name)
        elif data is not None and path.is_relative_to(directory):
            there.add(path.relative_to(directory).parts[0])
    return list(there)


def _is_directory(path: Path) -> bool:
    """True also for the folder of a file that is only being validated."""
    return os.path.isdir(path) or any(  # noqa: PTH112 - unlike Path.is_dir it never raises
        data is not None and path in changed.parents for changed, data in _changes.get().items()
    )


def _exists(path: Path) -> bool:
    changes = _changes.get()
    return changes[path] is not None if path in changes else os.path.exists(path)  # noqa: PTH110 - the same


def yaml_files(directory: Path) -> list[Path]:
    """The YAML files of a directory, sorted by name."""
    return [directory / name for name in names(directory) if name.endswith((".yaml", ".yml"))]


def python_files(directory: Path) -> list[Path]:
    """The Python files of a directory except those that begin with an underscore (helpers, packages)."""
    return [directory / name for name in names(directory) if name.endswith(".py") and not name.startswith("_")]


def skill_places(root: Path) -> Iterator[SkillPlace]:
    """Every skill below `root`, in a stable order. Folders that are not skills hold the skills of one model."""
    budget = MAX_SKILL_FOLDERS
    waiting: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
    while waiting:
        directory, parts = waiting.pop(0)
        owner = "/".join(parts) or None
        for name in names(directory):
            path = directory / name
            if _is_directory(path):
                if _exists(path / "SKILL.md"):
                    yield SkillPlace(path / "SKILL.md", name, path, owner)
                elif name not in _PASSED_OVER and len(parts) < MAX_SKILL_DEPTH and budget > 0:
                    budget -= 1
                    waiting.append((path, (*parts, name)))
            elif name.endswith((".md", ".yaml", ".yml")) and name.lower() != "readme.md":
                yield SkillPlace(path, name.rsplit(".", 1)[0], None, owner)
