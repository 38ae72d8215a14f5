"""The files of conf/ as the page edits them: listing, reading, and saving without losing anything.

A file is written in one step, only if that causes no new problem, and only if it has not changed since the editor read
it. Replaced contents are kept in memory so that recent saves can be undone; on disk they would be one more place where
a key is stored.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from openai_proxy.config import edit, files
from openai_proxy.config.files import digest_of
from openai_proxy.config.problems import ConfigError, Problem
from openai_proxy.errors import BadRequest, Forbidden, NotFound, ProxyError
from openai_proxy.runtime.checking import would_be
from openai_proxy.runtime.reload import reload
from openai_proxy.runtime.state import ProxyState

MAX_SIZE: Final = 1 << 20  # bytes per file
MAX_FILES: Final = 2000
KEPT: Final = 30  # saves that can be undone …
KEPT_BYTES: Final = 2 << 20  # … if they are no larger than this in total
_PART: Final = re.compile(r"[A-Za-z0-9_@+][A-Za-z0-9_.@+ -]*")
_KINDS: Final = (
    (re.compile(r"proxy\.yaml"), "proxy"),
    (re.compile(r"models/[^/]+\.ya?ml"), "model"),
    (re.compile(r"mcp/servers\.yaml"), "servers"),
    (re.compile(r"skills/.+\.ya?ml"), "skill"),
    (re.compile(r"skills/.+\.md"), "markdown"),
    (re.compile(r"tools/[^/]+\.ya?ml"), "tools"),
    (re.compile(r"(tools/)?[^/]+\.py"), "python"),
)


class Conflict(ProxyError):
    """The file has changed since the editor read it."""

    status = 409
    type = "invalid_request_error"
    default_code = "edit_conflict"


class DoesNotCheck(ProxyError):
    """Saving it would cause problems, so it was not saved."""

    status = 422
    type = "invalid_request_error"
    default_code = "does_not_check"

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"Not saved: {first.message}, line {first.line}{more}.")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Save:
    """One save that can be undone. `before` is None if the file was new, `after` if it was deleted."""

    id: int
    path: str
    at: float
    what: str  # "saved", "created", "deleted", "undone", or the change to a key
    before: bytes | None
    after: str | None  # digest


def kind_of(path: str) -> str | None:
    """The kind of a file, by its path below conf/; None if it cannot be edited here."""
    parts = path.split("/")
    if not all(_PART.fullmatch(part) for part in parts) or len(path) > 300:
        return None
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(path)), None)


class ConfigFiles:
    """The editor's view of conf/, for the life of the process. Belongs to the event loop."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._root = state.settings.config_dir
        self._saves: deque[Save] = deque(maxlen=KEPT)
        self._numbers = count(1)
        self._one = asyncio.Lock()

    # -- reading ----------------------------------------------------------------------------------------------------

    def listing(self) -> list[dict[str, Any]]:
        """Every file that can be edited: {"path", "kind", "size", "modified", "writable"}. Blocks."""
        found: list[dict[str, Any]] = []
        for path in sorted(self._root.rglob("*")):
            name = path.relative_to(self._root).as_posix()
            kind = kind_of(name)
            if kind is None or not path.is_file() or "__pycache__" in name:
                continue
            status = path.stat()
            found.append({"path": name, "kind": kind, "size": status.st_size, "modified": status.st_mtime,
                          "writable": edit.writable(path)})  # fmt: skip
            if len(found) >= MAX_FILES:
                break
        return found

    def read(self, name: str) -> tuple[bytes | None, str | None]:
        """A file's content and digest, None and None if it does not exist. Blocks. Raises BadRequest."""
        try:
            data = files.read(self.place(name), MAX_SIZE)
        except files.Unreadable as error:
            raise BadRequest(f"The file {error}.", code="unreadable_file") from None
        return data, digest_of(data) if data is not None else None

    def saves(self) -> list[Save]:
        """What can be undone, the latest first."""
        return list(reversed(self._saves))

    async def check(self, changes: Mapping[str, bytes | None]) -> list[Problem]:
        """The problems that these contents would have."""
        laid_over = {self.place(name): data for name, data in changes.items()}
        return list(await self._thread(would_be, self._state.settings, self._state.generation, laid_over))

    def shown(self, problem: Problem) -> dict[str, Any]:
        """A problem as the API reports it; `path` is relative to conf/, null for a file elsewhere."""
        file = Path(problem.file)
        inside = file.is_relative_to(self._root)
        return {**asdict(problem), "path": file.relative_to(self._root).as_posix() if inside else None}

    # -- writing ----------------------------------------------------------------------------------------------------

    async def save(self, name: str, data: bytes | None, base: str | None) -> dict[str, Any]:
        """Write a file (None: delete it) whose digest is still `base` (None: it does not exist), and reload.

        Returns {"digest", "reload"}. Raises Conflict, DoesNotCheck, Forbidden, BadRequest.
        """
        async with self._one:
            return await self._save(name, data, base)

    async def change(self, name: str, function: Any, what: str) -> dict[str, Any]:
        """Like `save`, with `function` computing the new content from the present one."""
        async with self._one:
            before, digest = await self._thread(self.read, name)
            try:
                after = await self._thread(function, before or b"")
            except ConfigError as error:
                raise DoesNotCheck(list(error.problems)) from None
            return await self._save(name, after, digest, what)

    async def undo(self, number: int) -> dict[str, Any]:
        """Undo a save if the file has not changed since. Raises what `save` raises, and NotFound."""
        async with self._one:
            save = next((save for save in self._saves if save.id == number), None)
            if save is None:
                raise NotFound("This save can no longer be undone.", code="save_not_found")
            answer = await self._save(save.path, save.before, save.after, f"undone: {save.what}")
            return {"path": save.path, **answer}

    async def _save(self, name: str, data: bytes | None, base: str | None, what: str = "") -> dict[str, Any]:
        path = self.place(name)
        if data is not None and len(data) > MAX_SIZE:
            raise BadRequest("The file would be larger than 1 MB.", code="file_too_large")
        before, digest = await self._thread(self.read, name)
        if digest != base:
            raise Conflict("The file has changed meanwhile; review the difference before saving.")
        if before == data:
            return {"digest": digest, "reload": None}
        await self._refuse_new_problems(path, data)
        if (await self._thread(self.read, name))[1] != base:
            raise Conflict("The file has changed meanwhile; review the difference before saving.")
        await self._thread(self._write, path, data)
        after = digest_of(data) if data is not None else None
        done = what or ("deleted" if data is None else "created" if before is None else "saved")
        self._keep(Save(next(self._numbers), name, time.time(), done, before, after))
        result = await reload(self._state)
        return {"digest": after, "reload": result}

    async def _refuse_new_problems(self, path: Path, data: bytes | None) -> None:
        settings, present = self._state.settings, self._state.generation
        known = {(p.file, p.message) for p in await self._thread(would_be, settings, present, {})}
        found = await self._thread(lambda: would_be(settings, present, {path: data}, run=True))
        fresh = [p for p in found if (p.file, p.message) not in known and not is_warning(p)]
        if fresh:
            raise DoesNotCheck(fresh)

    def _write(self, path: Path, data: bytes | None) -> None:
        try:
            if data is None:
                path.unlink()
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            edit.write(path, data)
        except ConfigError as error:
            raise Forbidden(f"The file {error.problems[0].message}.", code="not_writable") from None
        except OSError as error:
            reason = (error.strerror or "permission denied").lower()
            raise Forbidden(f"The file cannot be written: {reason}.", code="not_writable") from None

    def _keep(self, save: Save) -> None:
        self._saves.append(save)
        while len(self._saves) > 1 and sum(len(kept.before or b"") for kept in self._saves) > KEPT_BYTES:
            self._saves.popleft()

    def place(self, name: str) -> Path:
        """The absolute path of a file. Raises BadRequest if it cannot be edited here or leads out of conf/."""
        if kind_of(name) is None:
            raise BadRequest(
                "Only configuration files can be edited here: proxy.yaml, models/*.yaml, "
                "mcp/servers.yaml, skills and tools.",
                code="not_a_config_file", param="path",
            )  # fmt: skip
        path = self._root / name
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise Forbidden("This file is a link out of the configuration directory.", code="not_writable")
        return path

    async def _thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def is_warning(problem: Problem) -> bool:
    """True for what works but is probably a mistake."""
    return getattr(problem, "severity", "error") == "warning"
