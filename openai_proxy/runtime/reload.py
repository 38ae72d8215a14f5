"""Reloads, one after another, none lost: wait until the files are stable, read, build, replace, report the changes.

Callers who ask while a reload still waits for the files share it; those who ask while one reads get the next. What was
read is discarded if a file changed meanwhile, so half a file is never applied.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from openai_proxy.config.problems import WARNING, Problem
from openai_proxy.errors import InternalError, ProxyError
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.prepare import SETTLE, Prepared, adopt, make, prepare
from openai_proxy.runtime.state import ProxyState
from openai_proxy.runtime.tree import Tree, look
from openai_proxy.tasks import cancel, spawn

if TYPE_CHECKING:
    from openai_proxy.config.diff import ConfigChanges
    from openai_proxy.tools.custom import CustomTools

log = logging.getLogger(__name__)

MAX_SETTLE = 10.0
"""Seconds after which files are read although something in conf/ keeps changing."""

TOLD = 1.0
"""Seconds for which a reload request also reports an edit that the watcher has already picked up.

Someone who saves and immediately reloads should see the save reported, even if the watcher was faster (150 ms).
"""

SWITCH = 0.001
"""Seconds for which a reload's thread may hold the interpreter lock, and a stream's next chunk waits at most."""

T = TypeVar("T")


class MovableListener(Protocol):
    """The sockets of the API, as far as an edit can move them."""

    async def move(self, host: str, port: int) -> None:
        """Open the new address, then close the old one. Raises ProxyError, with nothing changed."""
        ...


class ReconfigurablePort(Protocol):
    """Another port whose setting an edit may change."""

    async def follow(self, generation: Generation) -> Problem | None:
        """Listen where `generation` says; on an obstacle returns a problem, and everything stays as it was."""
        ...


class Reloads:
    """Everything that can make the daemon read conf/ again. Belongs to the event loop.

    `listening` is None if the service manager opened the address.
    """

    def __init__(
        self,
        state: ProxyState,
        tree: Tree,
        listening: MovableListener | None,
        others: Sequence[ReconfigurablePort] = (),
    ) -> None:
        self.tree = tree  # the state of conf/ when it was last read
        self.remote = False  # conf/ is on another machine, whose clock may differ
        self._state = state
        self._listening = listening
        self._others = others
        self._address = _address(state.generation)
        self._seen = (tree, float("-inf"))
        self._root = str(state.settings.config_dir.absolute())
        self._rooted = self._root in tree.roots  # conf/ existed when it was last read
        self._forming: asyncio.Task[dict[str, Any] | ProxyError] | None = None
        self._passes: set[asyncio.Task[Any]] = set()
        self._requested: set[asyncio.Task[Any]] = set()  # the passes whose result somebody is waiting for
        self._unreported: list[tuple[float, bool, ConfigChanges]] = []
        """Passes that nobody requested: when they ended, whether they changed anything, and what."""
        self._one = asyncio.Lock()
        self._log_problems((), state.generation.problems)
        state.follow_documents(state.generation.snapshot.declared_tools)

    async def ask(self) -> dict[str, Any]:
        """Reload; the answer of `POST /admin/reload`. Raises ProxyError if even that failed (a bug of ours)."""
        task = self._next_pass()
        self._requested.add(task)
        result = await asyncio.shield(task)
        if isinstance(result, ProxyError):
            raise result
        return result

    def noticed(self, tree: Tree) -> None:
        """The watcher saw conf/ as `tree`: reload if it differs from what was read."""
        if not tree.same(self._seen[0]):
            self._seen = (tree, time.monotonic())
        if not tree.same(self.tree):
            self._next_pass()

    async def follow(self) -> None:
        """Reload for a caller who cannot get an answer (a signal). Raises ProxyError as `ask` does."""
        result = await asyncio.shield(self._next_pass())
        if isinstance(result, ProxyError):
            raise result

    async def aclose(self) -> None:
        """The daemon ends: no more reloads."""
        await cancel(*self._passes)

    @property
    def roots(self) -> Sequence[Path]:
        """What to watch."""
        return self._state.generation.snapshot.watched

    # -- one pass ---------------------------------------------------------------------------------------------------

    def _next_pass(self) -> asyncio.Task[dict[str, Any] | ProxyError]:
        if self._forming is None:
            self._forming = spawn(self._pass(), name="reload")
            self._passes.add(self._forming)
            self._forming.add_done_callback(self._passes.discard)
            self._forming.add_done_callback(self._requested.discard)
        return self._forming

    def _begin_reading(self) -> None:
        """From now on, callers may have written something that this pass does not read."""
        if self._forming is asyncio.current_task():
            self._forming = None

    async def _pass(self) -> dict[str, Any] | ProxyError:
        state = self._state
        async with self._one:
            if not state.draining:
                state.manager.reloading()
            try:
                return await self._reload()
            except Exception:
                log.exception("the reload failed; configuration %d stays in use", state.generation.number)
                return InternalError("The reload failed. The configuration stays as it was.")
            finally:
                self._begin_reading()
                if not state.draining:
                    state.manager.ready(state.line())

    async def _reload(self) -> dict[str, Any]:
        from openai_proxy.config.diff import diff  # not needed until something is edited

        state = self._state
        present = state.generation
        prepared = await self._read(present)
        fresh = prepared.snapshot
        before = present.augmented.custom if present.augmented is not None else None
        changes = _effective(diff(present.snapshot, fresh), prepared.tools)
        changed = bool(changes) or _handlers(prepared.tools) != _handlers(before)
        differs = fresh.digest != present.snapshot.digest or _outcome(prepared.tools) != _outcome(before)
        if differs or fresh.problems != present.snapshot.problems or _open_ends(present):
            generation = await _in_thread(make, state, prepared)
            found = [await self._follow_address(generation)]
            found += [await other.follow(generation) for other in self._others]
            if trouble := tuple(problem for problem in found if problem is not None):
                generation = replace(generation, problems=(*generation.problems, *trouble))
            if differs or generation.problems != present.problems:
                adopt(state, generation)
                self._log_changes(present, changes)
        self.tree = prepared.tree
        state.publish("reload", self._result(changed, changes))
        return self._report(changed, changes)

    def _report(self, changed: bool, changes: ConfigChanges) -> dict[str, Any]:
        """The report of this pass, including those just before it that were not reported to anyone."""
        from openai_proxy.config.diff import merged

        now = time.monotonic()
        unreported = [*(one for one in self._unreported if now - one[0] < TOLD), (now, changed, changes)]
        requested = asyncio.current_task() in self._requested
        self._unreported = [] if requested else unreported
        return self._result(any(was for _, was, _ in unreported), merged(changes for _, _, changes in unreported))

    def _result(self, changed: bool, changes: ConfigChanges) -> dict[str, Any]:
        generation = self._state.generation
        result: dict[str, Any] = {
            "changed": changed,
            "generation": generation.number,
            "added": list(changes.added),
            "removed": list(changes.removed),
            "updated": list(changes.updated),
        }
        if generation.problems:
            result["problems"] = [asdict(problem) for problem in generation.problems]
        return result

    async def _read(self, present: Generation) -> Prepared:
        """The configuration, read between two identical looks at conf/."""
        settings, roots = self._state.settings, self.roots
        deadline = time.monotonic() + MAX_SETTLE
        while True:
            tree = await self._settled(deadline)
            self._begin_reading()
            if self._rooted and self._root not in tree.roots:
                return _as_before(present, settings.config_dir, tree)
            prepared = await _in_thread(prepare, settings, present)
            late = time.monotonic() >= deadline
            if late:
                log.warning("something in conf/ keeps changing; it is read as it is")
            if late or (await _in_thread(look, roots)).same(tree):
                self._rooted = self._root in tree.roots
                return prepared if prepared.snapshot.watched != roots else replace(prepared, tree=tree)

    async def _settled(self, deadline: float) -> Tree:
        tree = await _in_thread(look, self.roots)
        while (wait := SETTLE - self._quiet_for(tree)) > 0 and time.monotonic() < deadline:
            await asyncio.sleep(min(wait, deadline - time.monotonic()))
            tree = await _in_thread(look, self.roots)
        return tree

    def _quiet_for(self, tree: Tree) -> float:
        """Seconds for which conf/ has been in the state `tree`."""
        now = time.monotonic()
        if not tree.same(self._seen[0]):
            self._seen = (tree, now)
        quiet = tree.quiet_for()
        # Deleted files have no time, and another machine's clock is useless: then only our own looks count.
        if self.remote or quiet < 0 or tree.roots != self.tree.roots:
            return now - self._seen[1]
        return quiet

    # -- the address ------------------------------------------------------------------------------------------------

    async def _follow_address(self, generation: Generation) -> Problem | None:
        """Listen where `generation` says. An obstacle is a problem, and the address stays."""
        wanted = _address(generation)
        if wanted == self._address:
            return None
        key = "port" if wanted[1] != self._address[1] else "host"
        place = generation.snapshot.place("proxy", None, (key,))
        if self._listening is None:
            return Problem(*place, f"{key}: the service manager holds the address; change it in the socket unit")
        try:
            await self._listening.move(*wanted)
        except ProxyError as error:
            return Problem(*place, f"{key}: {error}; the address stays {self._address[0]} port {self._address[1]}")
        self._address = wanted
        log.info("now serving on %s", ", ".join(f"{url}/v1" for url in self._state.addresses()))
        return None

    # -- reporting --------------------------------------------------------------------------------------------------

    def _log_changes(self, present: Generation, changes: ConfigChanges) -> None:
        words = [
            f"{kind} {', '.join(names)}"
            for kind, names in (("added", changes.added), ("removed", changes.removed), ("updated", changes.updated))
            if names
        ]
        problems = self._state.generation.problems
        edited = {problem.file for problem in {*problems} ^ {*present.problems}}
        mistaken = any(p.file in edited and not p.message.startswith(WARNING) for p in problems)
        nothing = "what was edited has a mistake and is not in effect" if mistaken else "no difference in effect"
        log.info("configuration %d: %s", self._state.generation.number, "; ".join(words) or nothing)
        self._log_problems(present.problems, problems)

    def _log_problems(self, before: Sequence[Problem], now: Sequence[Problem]) -> None:
        """Report each new problem once."""
        known = set(before)
        for problem in now:
            if problem not in known:
                log.warning("%s", problem)
        if before and not now:
            log.info("the configuration has no problems any more")


async def reload(state: ProxyState) -> dict[str, Any]:
    """Read again and replace the generation if anything changed. Returns the answer of `POST /admin/reload`."""
    return await state.reloads.ask()


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run `function` while the loop keeps running: threads are switched every millisecond instead of every five."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH))
    try:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    finally:
        sys.setswitchinterval(before)


def _address(generation: Generation) -> tuple[str, int]:
    return generation.config.host, generation.config.port


def _as_before(present: Generation, config_dir: Path, tree: Tree) -> Prepared:
    """The present configuration, for when conf/ itself is gone: being replaced or unmounted, hardly ever deleted."""
    problem = Problem(str(config_dir), 1, 1, "the directory is gone; its last content is used until it is back")
    problems = tuple(known for known in present.snapshot.problems if known != problem)
    snapshot = replace(present.snapshot, problems=(*problems, problem))
    return Prepared(snapshot, present.augmented.custom if present.augmented is not None else None, tree)


def _handlers(tools: CustomTools | None) -> object:
    return None if tools is None else tools.handlers


def _outcome(tools: CustomTools | None) -> object:
    return None if tools is None else (tools.handlers, tools.problems)


def _open_ends(generation: Generation) -> int:
    """The number of problems that are not about files: a port that was in use may be free by now."""
    own = len(generation.snapshot.problems) + (
        len(generation.augmented.problems) if generation.augmented is not None else 0
    )
    return len(generation.problems) - own


def _effective(changes: ConfigChanges, tools: CustomTools | None) -> ConfigChanges:
    """`changes` without the tool files that are now broken: their last good form stays."""
    files = tools.files if tools is not None else {}
    broken = {f"tool {path.name}" for path, file in files.items() if file.problems}
    if not broken:
        return changes
    added, updated = (tuple(n for n in names if n not in broken) for names in (changes.added, changes.updated))
    return replace(changes, added=added, updated=updated)
