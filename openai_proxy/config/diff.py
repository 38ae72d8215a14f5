"""What an edit changed, in words for people and for /admin/reload."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.proxy_file import WITHOUT_PROVIDER
from openai_proxy.config.snapshot import Snapshot

NAMED = ("connections", "groups", "routing")
_WORDS = {"connections": "connection", "groups": "group", "routing": "route"}


@dataclass(frozen=True, slots=True)
class ConfigChanges:
    """Names such as "model augmented/x", "server y", "connection z", "skill s", "tool t.py", "settings"; sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.updated)


def diff(old: Snapshot, new: Snapshot) -> ConfigChanges:
    """What was added, removed and changed between `old` and `new`."""
    before, after = dict(_things(old)), dict(_things(new))
    updated = [name for name in after if name in before and after[name] != before[name]]
    if _settings(old.proxy) != _settings(new.proxy):
        updated.append("settings")
    if list(old.proxy.routing) != list(new.proxy.routing) and set(old.proxy.routing) == set(new.proxy.routing):
        updated.append("route order")
    return ConfigChanges(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple(sorted(updated)),
    )


def merged(steps: Iterable[ConfigChanges]) -> ConfigChanges:
    """The combined effect of several edits: the final outcome for each name."""
    kinds: dict[str, str] = {}
    for step in steps:
        for name in step.added:
            kinds[name] = "updated" if kinds.get(name) == "removed" else "added"
        kinds.update(dict.fromkeys(step.removed, "removed"))
        for name in step.updated:
            kinds.setdefault(name, "updated")

    def of(kind: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, known in kinds.items() if known == kind))

    return ConfigChanges(of("added"), of("removed"), of("updated"))


def _things(snapshot: Snapshot) -> Iterator[tuple[str, object]]:
    for section, word in _WORDS.items():
        members: Mapping[str, object] = getattr(snapshot.proxy, section)
        if members == WITHOUT_PROVIDER:
            continue  # `echo` comes from no file: it is always available
        for name, value in members.items():
            yield f"{word} {name}", value
    for name, value in snapshot.models.items():
        yield f"model {name}", value
    for name, value in snapshot.servers.items():
        yield f"server {name}", value
    for skill in snapshot.skills:
        yield f"skill {skill.model}/{skill.id}" if skill.model else f"skill {skill.id}", skill
    for file in snapshot.tool_files:
        yield f"tool {file.path.name}", file.digest
    for declared in snapshot.declared_tools:
        yield f"tool {declared.path.name}", (declared.digest, declared.tools)
    for file in snapshot.modules:
        yield f"module {file.path.name}", file.digest


def _settings(proxy: ProxyConfig) -> dict[str, object]:
    return {name: getattr(proxy, name) for name in type(proxy).model_fields if name not in NAMED}
