"""Loads conf/tools/*.py, the owner's own code, file by file.

Each file is run from its bytes as a separate module under a private name, so nothing is cached, two generations of a
file can coexist, and `sys.path` is left alone. A file that fails keeps its previous handlers. Only files whose bytes,
or whose siblings' bytes, have changed are run again; failed ones are retried every time, because what they lacked may
have become available.

Siblings (`import helpers` at the top of a tool file) are found in the same folder, after everything installed.
"""

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import itertools
import logging
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.config.files import PythonFile
from openai_proxy.config.problems import Problem
from openai_proxy.plugin_loader import describe, failure
from openai_proxy.secrets import vault
from openai_proxy.tools.builtin import BUILTIN
from openai_proxy.tools.handler import Handler
from openai_proxy.tools.registry import collecting, make_handler
from openai_proxy.tools.toolbox import normalised

if TYPE_CHECKING:
    from openai_proxy.tools.declared.built import BuiltTools

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 1024 * 1024
IMPORT_SECONDS: Final = 20.0

_numbers = itertools.count(1)
_one_at_a_time = threading.Lock()  # sys.meta_path and sys.modules are process-wide


class _Life:
    """Keeps a module importable under its private name (for dataclasses, pickle and typing) while it lives."""

    def __init__(self, module_name: str) -> None:
        weakref.finalize(self, sys.modules.pop, module_name, None).atexit = False


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """One file after it was run. `siblings` are the files that it imported from its folder, with their digests."""

    path: Path
    digest: str
    handlers: tuple[Handler, ...]
    siblings: Mapping[Path, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    life: _Life | None = None


@dataclass(frozen=True, slots=True)
class CustomTools:
    """All handlers by name, including built-in ones; and the problems."""

    handlers: Mapping[str, Handler]
    files: Mapping[Path, LoadedFile] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    declared: "Mapping[Path, tuple[BuiltTools, ...]]" = field(default_factory=dict)  # from YAML files, by declared.load

    @property
    def waiting(self) -> bool:
        """True while a document with more tools has yet to be fetched."""
        return any(made.waiting for file in self.declared.values() for made in file)


def load(
    given: Iterable[PythonFile | Path],
    previous: CustomTools | None = None,
    *,
    label: Callable[[Path], str] = str,
    seconds: float = IMPORT_SECONDS,
) -> CustomTools:
    """Run the `given` files that have changed. Blocks: call it off the event loop.

    A PythonFile is run from the bytes in the snapshot, a Path from the disk. `label` turns a path into the name used in
    problems. A file that takes longer than `seconds` to import is a problem.
    """
    before = previous.files if previous is not None else {}
    files: dict[Path, LoadedFile] = {}
    sources = {file if isinstance(file, Path) else file.path: file for file in given}
    for path in sorted(sources):
        files[path] = _loaded(sources[path], path, before.get(path), label(path), seconds)
    handlers: dict[str, Handler] = dict(BUILTIN)
    problems: list[Problem] = []
    for path, loaded in files.items():
        problems += loaded.problems
        for handler in loaded.handlers:
            if (first := handlers.setdefault(handler.name, handler)) is not handler:
                where = first.origin if first.origin == "built in" else f"defined in {first.origin}"
                message = f"the tool {handler.name!r} is already {where}; this one is left out"
                problems.append(Problem(label(path), 1, 1, message))
    return CustomTools(handlers, files, tuple(problems))


def _loaded(file: PythonFile | Path, path: Path, before: LoadedFile | None, name: str, seconds: float) -> LoadedFile:
    try:
        source = _read(file) if isinstance(file, Path) else file.source
    except (OSError, ValueError) as error:
        return _kept(path, "", before, Problem(name, 1, 1, f"the file cannot be read: {_reason(error)}"))
    digest = hashlib.sha256(source).hexdigest()
    if before is not None and not before.problems and before.digest == digest and _same(before.siblings):
        return before
    run = _Import(path, source)
    with _one_at_a_time:
        fault = run.within(seconds)
    if fault is not None:
        line, column, message = fault
        return _kept(path, digest, before, Problem(name, line, column, vault.scrub(message)))
    handlers = tuple(replace(handler, origin=path.name) for handler in run.handlers)
    return LoadedFile(path, digest, handlers, dict(run.siblings), life=_Life(run.module_name))


def _kept(path: Path, digest: str, before: LoadedFile | None, problem: Problem) -> LoadedFile:
    """The last good form of a file that is now broken."""
    if before is None:
        return LoadedFile(path, digest, (), problems=(problem,))
    return replace(before, problems=(problem,))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        source = file.read(MAX_FILE_BYTES + 1)
    if len(source) > MAX_FILE_BYTES:
        raise ValueError("the file is larger than 1 MiB")
    return source


def _same(siblings: Mapping[Path, str]) -> bool:
    try:
        return all(hashlib.sha256(_read(path)).hexdigest() == digest for path, digest in siblings.items())
    except (OSError, ValueError):
        return False


class _Import(importlib.abc.MetaPathFinder):
    """One run of one file; it also finds the file's siblings."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path = path
        self.source = source
        self.handlers: list[Handler] = []
        self.siblings: dict[Path, str] = {}
        self.module_name = f"_openai_proxy_tools_{next(_numbers)}_{path.stem}"
        self._names: list[str] = []

    def within(self, seconds: float) -> tuple[int, int, str] | None:
        """Run the file in a separate thread. Returns (line, column, what is wrong), or None."""
        outcome: list[tuple[int, int, str] | None] = []
        context = copy_context()
        # In a thread, so that an import that hangs or calls sys.exit costs one thread rather than the reload.
        thread = threading.Thread(
            target=lambda: outcome.append(context.run(self._run)), name=f"import {self.path.name}", daemon=True
        )
        sys.meta_path.append(self)  # last, so that a sibling never hides an installed module
        try:
            thread.start()
            thread.join(seconds)
        finally:
            sys.meta_path.remove(self)
            for name in self._names:
                sys.modules.pop(name, None)
        if not outcome:
            return 1, 1, f"importing the file takes longer than {seconds:g} s"
        if outcome[0] is not None:
            sys.modules.pop(self.module_name, None)
        return outcome[0]

    def _run(self) -> tuple[int, int, str] | None:
        module = types.ModuleType(self.module_name)
        module.__file__ = str(self.path)
        sys.modules[self.module_name] = module
        collecting.set(self.handlers)
        _active.set(self)
        try:
            exec(compile(self.source, str(self.path), "exec"), module.__dict__)  # noqa: S102  # the owner's own code
            self.handlers += _from_module(module)
        except SyntaxError as error:
            if error.filename == str(self.path):
                return error.lineno or 1, max(1, error.offset or 1), f"this is not valid Python: {error.msg}"
            return (*self._place(error), vault.scrub(failure(error))[:500])
        except BaseException as error:  # sys.exit at import time is the file's problem and must not end the daemon
            log.debug("importing %s failed", self.path.name, exc_info=True)
            return (*self._place(error), vault.scrub(failure(error))[:500])
        return None

    def _place(self, error: BaseException) -> tuple[int, int]:
        """Where in this file the error occurred."""
        frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
        for frame in reversed(frames):
            if frame.filename == str(self.path):
                return frame.lineno or 1, (frame.colno or 0) + 1
        return 1, 1

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A sibling of the file being loaded, only in the thread that loads it."""
        if _active.get() is not self:
            return None
        if path is None:
            path = [str(self.path.parent)]
        elif fullname.partition(".")[0] not in self._names:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        if found is None or found.origin is None or not found.origin.endswith(".py"):
            return None
        loader = _Sibling(fullname, found.origin, self)
        self._names.append(fullname)
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=loader, submodule_search_locations=found.submodule_search_locations
        )


_active: ContextVar[_Import | None] = ContextVar("the tool file that is loading", default=None)


class _Sibling(importlib.machinery.SourceFileLoader):
    """Loads a sibling from its bytes, never from __pycache__, and does not count its handlers as the file's own."""

    def __init__(self, fullname: str, path: str, run: _Import) -> None:
        super().__init__(fullname, path)
        self._import = run

    def get_code(self, fullname: str) -> types.CodeType:
        source = _read(Path(self.path))
        self._import.siblings[Path(self.path)] = hashlib.sha256(source).hexdigest()
        code: types.CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        token = collecting.set([])
        try:
            super().exec_module(module)
        finally:
            collecting.reset(token)


def _from_module(module: types.ModuleType) -> list[Handler]:
    """The handlers of a file with `execute_tool(name, arguments)` and `TOOLS`."""
    execute = getattr(module, "execute_tool", None)
    tools = getattr(module, "TOOLS", None)
    if execute is None and tools is None:
        return []
    if not callable(execute):
        raise TypeError("TOOLS needs a function execute_tool(name, arguments) beside it")
    if not isinstance(tools, list | tuple):
        raise TypeError("execute_tool needs a list TOOLS of tool definitions beside it")
    handlers: list[Handler] = []
    for entry in tools:
        if not isinstance(entry, Mapping):
            raise TypeError("each item of TOOLS must be a definition: {type: function, function: {name, …}}")
        definition = normalised(entry)
        function = definition.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        handlers.append(make_handler(name, definition, _bound(execute, str(name))))
    return handlers


def _bound(execute: Callable[..., Any], name: str) -> Callable[[dict[str, Any]], object]:
    if inspect.iscoroutinefunction(execute):

        async def run_async(arguments: dict[str, Any]) -> object:
            return await execute(name, arguments)

        return run_async
    return lambda arguments: execute(name, arguments)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or describe(error)
