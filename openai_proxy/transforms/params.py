"""Parameters of chat-shaped requests: what `params` drops, defaults, overrides and renames.

There are such rules in three places: globally, on a connection, on an augmented model. Each refines those before it: of
two values for one name the later one applies, and what any of them drops is dropped. Then, as in contract §2, first
`drop`, then `default`, then `override`, and finally `rename`: the other rules use the names that clients use. Dotted
names reach into objects (`stream_options.include_usage`).

On a connection with `prompt_cache: true`, what changes every turn is then moved to the end.

A request is chat-shaped if it has `messages`; all others are left alone. `model`, `messages` and `stream` are not
parameters: routing, the client and the answer's shape depend on them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openai_proxy.config.connection import ParamsConfig
from openai_proxy.dialects.edits import BodyEdits

UNTOUCHED = frozenset({"model", "messages", "stream"})


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for one kind of request, merged. False if there are none."""

    default: Mapping[str, Any] = field(default_factory=dict)
    override: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    prompt_cache: str = ""
    """The type of prompt cache to preserve the request's beginning for, see dialects.prompt_cache; "": none."""

    def __bool__(self) -> bool:
        return bool(self.default or self.override or self.drop or self.rename or self.prompt_cache)

    def refined(self, config: ParamsConfig) -> "Rules":
        """These rules refined by those of a more specific place."""
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


def shape(document: Mapping[str, Any], rules: Rules, dialect: str = "chat") -> BodyEdits:
    """What `rules` change in a request's body, which is written in `dialect`. Pure: `document` is not modified."""
    edits = _parameters_shaped(document, rules) if rules and "messages" in document else BodyEdits()
    if rules.prompt_cache:
        from openai_proxy.dialects.prompt_cache import kept_cacheable

        edits.replace |= kept_cacheable(edits.applied(document), dialect, rules.prompt_cache)
    return edits


def _parameters_shaped(document: Mapping[str, Any], rules: Rules) -> BodyEdits:
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
    """A document being changed: members are copied before they are first modified."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._before = document
        self._now = dict(document)
        self._own: set[str] = set()

    def drop(self, path: list[str]) -> None:
        holder = self._holder(path, make=False)
        if holder is not None:
            holder.pop(path[-1], None)

    def put(self, path: list[str], value: Any, *, always: bool) -> None:
        """Set the member at `path`, if it is missing or with `always`."""
        holder = self._holder(path, make=True, over=always)
        if holder is not None and (always or path[-1] not in holder):
            holder[path[-1]] = copy.deepcopy(value)

    def rename(self, old: list[str], new: list[str]) -> None:
        """Rename the member at `old` to `new`; an existing member of that name is kept instead."""
        holder = self._holder(old, make=False)
        if holder is None or old[-1] not in holder:
            return
        self.put(new, holder.pop(old[-1]), always=False)

    def _holder(self, path: list[str], *, make: bool, over: bool = False) -> dict[str, Any] | None:
        """The object that contains the last step of `path`, ready to be modified; None if there is none."""
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
                    return None  # nothing to drop here, and no default may replace the client's value
                below = holder[step] = {}
            holder = below
        return holder

    def changes(self) -> BodyEdits:
        before, now = self._before, self._now
        changed = {name: value for name, value in now.items() if name not in before or before[name] != value}
        for name, value in now.items():  # True == 1 and 1 == 1.0, but not for a provider
            if name in before and name not in changed and type(before[name]) is not type(value):
                changed[name] = value
        return BodyEdits(changed, [name for name in before if name not in now])
