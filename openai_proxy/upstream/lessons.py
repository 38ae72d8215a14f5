"""What each model of each connection is known to refuse. Learnt from answers, stored on disk.

A lesson is valid for MAX_AGE, since servers are updated; one learnt at another address of a connection is ignored.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from openai_proxy import statefile
from openai_proxy.dialects.base import Lesson, Lessons
from openai_proxy.store.shared import Shared, SharedTable
from openai_proxy.tasks import cancel, spawn

LESSONS: Final = "lessons.json"
"""Name in the state directory."""

VERSION: Final = 1
MAX_AGE: Final = 30 * 86400.0  # seconds
MAX_MODELS: Final = 512  # per connection; a caller can invent names
MAX_LESSONS: Final = 4
"""Refusals that one request may learn from: a model names one parameter at a time."""
MAX_MEMBERS: Final = 64  # per model
WRITE_AFTER: Final = 0.5  # seconds during which further lessons are collected before writing

_THINKS: Final = "begins with reasoning that ends in </think>"

log = logging.getLogger(__name__)
_NOTHING: Final = Lessons()


def with_lesson(known: Lessons, lesson: Lesson) -> Lessons:
    """`known` extended by `lesson`."""
    return replace(
        known,
        refused=known.refused | lesson.refused,
        renamed={**known.renamed, **lesson.renamed},
        lengths={**known.lengths, **lesson.lengths},
        roles={**known.roles, **lesson.roles},
        unfit=known.unfit | lesson.unfit,
        schema=lesson.schema or known.schema,
        max_output_tokens=lesson.max_output_tokens or known.max_output_tokens,
        api=lesson.api or known.api,
        tools_api=lesson.tools_api or known.tools_api,
    )


class ConnectionLessons:
    """What is known about the models of one connection, and about its server."""

    def __init__(self, name: str, base: str, clock: Callable[[], float], changed: Callable[[str | None], None]) -> None:
        self._name = name
        self.base = base
        self._clock = clock
        self._changed = changed
        self.version = 0  # increases whenever the knowledge changes: derived results must then be recomputed
        self._models: dict[str, tuple[float, Lessons]] = {}
        self._lacking: dict[str, float] = {}
        self._thinking: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._models)

    def knows(self, model: str | None) -> bool:
        """True if `model` has refused something: its requests are not sent unchanged."""
        return model in self._models and self.of(str(model)) is not _NOTHING

    def of(self, model: str) -> Lessons:
        """What is known about `model`."""
        known = self._models.get(model)
        if known is None:
            return _NOTHING
        if self._clock() - known[0] > MAX_AGE:
            del self._models[model]
            return _NOTHING
        return known[1]

    def learn(self, model: str, lesson: Lesson) -> bool:
        """Add what a refusal taught; returns whether it was new.

        Call it only after a retry without the refused member has succeeded: an error may quote the caller, and one
        caller's text must not change another one's requests.
        """
        known = self.of(model)
        more = with_lesson(known, lesson)
        if more == known or len(more.refused) + len(more.renamed) + len(more.unfit) > MAX_MEMBERS:
            return False
        self._models.pop(model, None)
        self._models[model] = (self._clock(), more)
        if len(self._models) > MAX_MODELS:
            del self._models[next(iter(self._models))]
        log.info("connection %s, model %s: %s", self._name, model[:100], _in_words(lesson))
        self._note(model)
        return True

    def lacks(self, path: str) -> bool:
        """True if the server is known to lack the endpoint `path`."""
        since = self._lacking.get(path)
        return since is not None and self._clock() - since <= MAX_AGE

    def learn_lack(self, path: str) -> None:
        """Note that the server lacks the endpoint `path`."""
        self._lacking[path] = self._clock()
        log.info("connection %s has no %s", self._name, path)
        self._note(None)

    def thinks(self, model: str) -> bool:
        """True if answers of `model` begin with reasoning without an opening tag."""
        since = self._thinking.get(model)
        return since is not None and self._clock() - since <= MAX_AGE

    def learn_thinks(self, model: str, *, thinks: bool) -> None:
        """Note what an answer of `model` has shown; see `thinks`."""
        if thinks == self.thinks(model):
            return
        self._thinking.pop(model, None)
        if thinks:
            self._thinking[model] = self._clock()
            if len(self._thinking) > MAX_MODELS:
                del self._thinking[next(iter(self._thinking))]
            log.info("connection %s, model %s: %s", self._name, model[:100], _THINKS)
        self._note(None)

    def as_text(self) -> dict[str, str]:
        """What is known about each model, in words; about the server itself under ""."""
        lacking = [path for path in self._lacking if self.lacks(path)]
        found = {"": f"has no {', '.join(lacking)}"} if lacking else {}
        known = {model: self.of(model) for model in tuple(self._models)}
        sentences = {model: _in_words(lessons) for model, lessons in known.items() if lessons is not _NOTHING}
        for model in filter(self.thinks, self._thinking):
            sentences[model] = f"{sentences[model]}; {_THINKS}" if model in sentences else _THINKS
        return {**found, **sentences}

    def forget(self, model: str | None = None) -> None:
        """Forget what is known about `model`; without one, about all models and the server."""
        forgotten = [*self._models, None] if model is None else [model]
        if model is None:
            self._lacking.clear()
            self._thinking.clear()
        elif self._thinking.pop(model, None) is not None:
            self._note(None)
        for name in forgotten:
            if name is not None:
                self._models.pop(name, None)
            self._note(name)

    def _note(self, model: str | None) -> None:
        self.version += 1
        self._changed(model)

    def load(self, saved: dict[str, Any]) -> None:
        """Load from `saved` what belongs to this connection, if it was learnt at the same address."""
        if saved.get("base") != self.base:
            return
        self.version += 1
        for model, entry in saved["models"].items():
            self._models[model] = _entry_of(entry)
        self._lacking = {str(path): float(at) for path, at in saved["lacking"].items()}
        self._thinking = {str(model): float(at) for model, at in saved.get("thinking", {}).items()}

    def saved(self) -> dict[str, Any]:
        """The data for `load`."""
        models = {model: self.entry(model) for model in tuple(self._models)}
        return {"base": self.base, "models": models, "lacking": self._lacking, "thinking": self._thinking}

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def names(self) -> list[tuple[str | None, float]]:
        """The models about which something is known (None: the server), and since when."""
        known: list[tuple[str | None, float]] = [(model, at) for model, (at, _) in self._models.items()]
        of_server = [*self._lacking.values(), *self._thinking.values()]
        return [*known, (None, max(of_server))] if of_server else known

    def entry(self, model: str | None) -> dict[str, Any] | None:
        """What is known about `model`, or (None) the server, as plain JSON."""
        if model is None:
            lacking, thinking = dict(self._lacking), dict(self._thinking)
            return {"lacking": lacking, "thinking": thinking} if lacking or thinking else None
        if model not in self._models:
            return None
        at, known = self._models[model]
        members = {
            "refused": sorted(known.refused), "renamed": dict(known.renamed), "lengths": dict(known.lengths),
            "roles": dict(known.roles), "unfit": sorted(known.unfit), "max_output_tokens": known.max_output_tokens,
            "schema": known.schema, "api": known.api, "tools_api": known.tools_api,
        }  # fmt: skip
        return {"at": at, **{name: value for name, value in members.items() if value}}

    def take(self, model: str | None, entry: dict[str, Any] | None) -> None:
        """Add what another daemon has learnt. None: an admin made that daemon forget it."""
        self.version += 1
        if model is None:
            self._lacking = {} if entry is None else {**self._lacking, **entry["lacking"]}
            self._thinking = {} if entry is None else {**self._thinking, **entry.get("thinking", {})}
        elif entry is None:
            self._models.pop(model, None)
        else:
            at, lesson = _entry_of(entry)
            self._models[model] = (at, with_lesson(self.of(model), lesson))
            if len(self._models) > MAX_MODELS:
                del self._models[next(iter(self._models))]


def _entry_of(entry: Mapping[str, Any]) -> tuple[float, Lessons]:
    members = {**entry, **{name: frozenset(entry.get(name, ())) for name in ("refused", "unfit")}}
    return float(members.pop("at")), Lessons(**members)


class LessonTable:
    """The lessons of every connection. Lives as long as the process; without `path` they are not stored."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._connections: dict[str, ConnectionLessons] = {}
        self._saved: dict[str, Any] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._shared: SharedTable | None = None
        self._taken: dict[str, Any] = {}  # of connections that are not configured here, or not yet

    def of(self, connection: str, base: str = "") -> ConnectionLessons:
        """The lessons of `connection`, whose API root is `base`: at another address nothing is known."""
        known = self._connections.get(connection)
        if known is None or known.base != base:

            def changed(model: str | None) -> None:
                self._changed(connection, base, model)

            known = self._connections[connection] = ConnectionLessons(connection, base, self._clock, changed)
            self._restore(connection, known)
            for name in [name for name in self._taken if orjson.loads(name)[:2] == [connection, base]]:
                known.take(orjson.loads(name)[2], self._taken.pop(name))
        return known

    def forget(self, connection: str, model: str | None = None) -> None:
        """Forget what is known about a model, or a whole connection."""
        known = self._connections.get(connection)
        if known is not None:
            known.forget(model)

    async def aclose(self) -> None:
        """Write unsaved lessons."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await cancel(writing)
            self._write()

    def _restore(self, connection: str, known: ConnectionLessons) -> None:
        if self._path is None:
            return
        if self._saved is None:
            self._saved = statefile.load(self._path, VERSION)
        saved = self._saved.get(connection)
        if saved is not None:
            try:
                known.load(saved)
            except (KeyError, TypeError, ValueError, AttributeError):
                log.warning("what was learnt about connection %s cannot be read and will be learnt again", connection)

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Share what is learnt with the other daemons."""
        self._shared = shared.table("lessons", read=self._read, take=self._take, names=self._names)

    def _read(self, name: str) -> tuple[Any, float] | None:
        connection, base, model = orjson.loads(name)
        known = self._connections.get(connection)
        entry = known.entry(model) if known is not None and known.base == base else self._taken.get(name)
        return (entry, MAX_AGE) if entry is not None else None

    def _take(self, name: str, value: Any) -> None:
        connection, base, model = orjson.loads(name)
        known = self._connections.get(connection)
        if known is not None and known.base == base:
            known.take(model, value)
        elif len(self._taken) < MAX_MODELS:
            self._taken[name] = value

    def _names(self) -> list[tuple[str, float]]:
        return [
            (_name(connection, known.base, model), at)
            for connection, known in self._connections.items()
            for model, at in known.names()
        ]

    def _changed(self, connection: str, base: str, model: str | None) -> None:
        if self._shared is not None:
            self._shared.changed(_name(connection, base, model))
        if self._path is not None and self._writing is None:
            self._writing = spawn(self._write_soon(), name="write lessons")

    async def _write_soon(self) -> None:
        await asyncio.sleep(WRITE_AFTER)
        self._writing = None
        await asyncio.get_running_loop().run_in_executor(None, self._write)

    def _write(self) -> None:
        if self._path is None:
            return
        present = {name: lessons.saved() for name, lessons in list(self._connections.items())}
        try:
            statefile.save(self._path, VERSION, {**(self._saved or {}), **present})
        except OSError as error:
            log.warning("lessons cannot be saved: %s", error.strerror)


def _name(connection: str, base: str, model: str | None) -> str:
    return orjson.dumps([connection, base, model]).decode()


def _in_words(lesson: Lesson) -> str:
    sentences = [f"refuses {', '.join(sorted(lesson.refused))}"] if lesson.refused else []
    sentences += [f"has {new} for {old}" for old, new in lesson.renamed.items()]
    sentences += [f"accepts at most {length} characters in {name}" for name, length in lesson.lengths.items()]
    sentences += [f"needs '{new}' for the role '{old}'" for old, new in lesson.roles.items()]
    sentences += [f"lacks {value}" for value in sorted(lesson.unfit)]
    if lesson.max_output_tokens is not None:
        sentences.append(f"generates at most {lesson.max_output_tokens} tokens")
    if lesson.schema is not None:
        sentences.append(f"accepts tools with {lesson.schema} schemas")
    if lesson.api is not None:
        sentences.append(f"supports only the {lesson.api} API")
    if lesson.tools_api is not None:
        sentences.append(f"supports tools only by the {lesson.tools_api} API")
    return "; ".join(sentences)[:500]
