"""Parameters of chat-shaped requests: what `params` drops, fills in, overrides and renames.

Three places have such rules: the whole house, a connection, an augmented model. Each refines those before it: of two
values for one name the later place's holds, and what any of them drops is dropped. Then, as contract §2 has it, first
`drop`, then `default`, then `override`, and at last `rename`: the other rules are written with the names that clients
use. Names with dots reach into objects (`stream_options.include_usage`).

On a connection with `prompt_cache: true` what changes from turn to turn is then moved to the end.

A request is chat-shaped if it carries `messages`; all others are left alone. `model`, `messages` and `stream` are not
parameters: routing, the client and the answer's shape depend on them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openai_proxy.config.connection import ParamsConfig
from openai_proxy.dialects import json_text

UNTOUCHED = frozenset({"model", "messages", "stream"})


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for one kind of request, merged. False if there are none."""

    default: Mapping[str, Any] = field(default_factory=dict)
    override: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    prompt_cache: str = ""
    """Whose prompt cache the request's beginning is kept the same for, see dialects.prompt_cache; "": nobody's."""

    def __bool__(self) -> bool:
        return bool(self.default or self.override or self.drop or self.rename or self.prompt_cache)

    def refined(self, config: ParamsConfig) -> "Rules":
        """These rules with those of a more particular place laid over them."""
        if not (config.default or config.override or config.drop or config.rename):
            return self
        return Rules(
            {**self.default, **_parameters(config.default)},
            {**self.override, **_parameters(config.override)},
            tuple(dict.fromkeys((*self.drop, *(n for n in config.drop if n.partition(".")[0] not in UNTOUCHED)))),
            {**self.rename, **_names(config.rename)},
            self.prompt_cache,
        )


NONE = Rules()


def _parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name.partition(".")[0] not in UNTOUCHED}


def _names(renamed: Mapping[str, str]) -> dict[str, str]:
    pairs = renamed.items()
    return {old: new for old, new in pairs if not {old.partition(".")[0], new.partition(".")[0]} & UNTOUCHED}


@dataclass(frozen=True, slots=True)
class ParamChanges:
    """What becomes of a document: top-level members that are set, and those that go. False if nothing changes."""

    set: Mapping[str, Any] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.removed)

    def members(self) -> dict[str, bytes]:
        """The members that are set, as JSON: what `protocols.json_members.edit` takes."""
        return {name: json_text.dumps(value) for name, value in self.set.items()}

    def applied(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """`document` with the changes; itself untouched."""
        kept = {name: value for name, value in document.items() if name not in self.removed}
        kept.update(self.set)
        return kept


NOTHING = ParamChanges()


def shape(document: Mapping[str, Any], rules: Rules, dialect: str = "chat") -> ParamChanges:
    """What `rules` change of a request's body, which is written in `dialect`. Pure: `document` stays as it is."""
    if not rules:
        return NOTHING
    changes = _parameters_shaped(document, rules) if "messages" in document else NOTHING
    if not rules.prompt_cache:
        return changes
    from openai_proxy.dialects.prompt_cache import kept_cacheable

    moved = kept_cacheable(changes.applied(document) if changes else document, dialect, rules.prompt_cache)
    return ParamChanges({**changes.set, **moved}, changes.removed) if moved else changes


def _parameters_shaped(document: Mapping[str, Any], rules: Rules) -> ParamChanges:
    work = _Work(document)
    for name in rules.drop:
        work.drop(name.split("."))
    for name, value in rules.default.items():
        work.put(name.split("."), value, always=False)
    for name, value in rules.override.items():
        work.put(name.split("."), value, always=True)
    for old, new in rules.rename.items():
        work.rename(old.split("."), new.split("."))
    return work.changes()


class _Work:
    """A document being changed: its members are copied when they are first written to."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._before = document
        self._now = dict(document)
        self._own: set[str] = set()

    def drop(self, path: list[str]) -> None:
        holder = self._holder(path, make=False)
        if holder is not None:
            holder.pop(path[-1], None)

    def put(self, path: list[str], value: Any, *, always: bool) -> None:
        """Set the member at `path`; only where it is not there unless `always`."""
        holder = self._holder(path, make=True, over=always)
        if holder is not None and (always or path[-1] not in holder):
            holder[path[-1]] = copy.deepcopy(value)

    def rename(self, old: list[str], new: list[str]) -> None:
        """Give the member at `old` the name `new`; where there is one of that name already, that one stays."""
        holder = self._holder(old, make=False)
        if holder is None or old[-1] not in holder:
            return
        self.put(new, holder.pop(old[-1]), always=False)

    def _holder(self, path: list[str], *, make: bool, over: bool = False) -> dict[str, Any] | None:
        """The object that holds the last step of `path`, ready to be written; None if there is none."""
        if len(path) == 1:
            return self._now
        top = path[0]
        if top not in self._own and top in self._now:
            self._now[top] = copy.deepcopy(self._now[top])
        self._own.add(top)
        holder = self._now
        for step in path[:-1]:
            below = holder.get(step)
            if not isinstance(below, dict):
                if not make or (below is not None and not over):
                    return None  # nothing to drop from, and no default may replace what the client said
                below = holder[step] = {}
            holder = below
        return holder

    def changes(self) -> ParamChanges:
        before, now = self._before, self._now
        changed = {name: value for name, value in now.items() if name not in before or before[name] != value}
        for name, value in now.items():  # True == 1 and 1 == 1.0, but not for a provider
            if name in before and name not in changed and type(before[name]) is not type(value):
                changed[name] = value
        return ParamChanges(changed, tuple(name for name in before if name not in now))
