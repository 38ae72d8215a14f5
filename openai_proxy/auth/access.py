"""The connections and models that a caller's group may use."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from openai_proxy.config.proxy import GroupConfig
from openai_proxy.exchange import Caller, Target

_CACHE_SIZE = 8192
NOTHING: tuple[tuple[str, ...] | None, tuple[str, ...] | None] = ((), ())
"""Permissions of an unknown group: none, so that it fails closed."""


class Access:
    """The groups' permissions, compiled. A caller without a group may use everything."""

    def __init__(self, groups: Mapping[str, GroupConfig]) -> None:
        self._groups = {
            name: (_all_or(group.allowed_connections), _all_or(group.allowed_models)) for name, group in groups.items()
        }
        self._restricted = any(rule != (None, None) for rule in self._groups.values())
        self._known: dict[tuple[str, str], bool] = {}

    def restricts(self, caller: Caller) -> bool:
        """True if the caller is restricted in any way."""
        return self._restricted and caller.group is not None

    def restricts_models(self, caller: Caller) -> bool:
        """True if there is a model that the caller may not use."""
        if not self._restricted or caller.group is None:
            return False
        return self._groups.get(caller.group, NOTHING)[1] is not None

    def may_use(self, caller: Caller, model: str) -> bool:
        """True if the caller's group may use `model` (the requested name)."""
        if not self._restricted or caller.group is None:
            return True
        key = (caller.group, model)
        known = self._known.get(key)
        if known is None:
            patterns = self._groups.get(caller.group, NOTHING)[1]
            # A gateway behind us (LiteLLM) may split names at commas and use each of them.
            known = patterns is None or all(
                any(fnmatchcase(name.strip(), pattern) for pattern in patterns) for name in model.split(",")
            )
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[key] = known
        return known

    def may_reach(self, caller: Caller, connection: str) -> bool:
        """True if the caller's group may use `connection`."""
        if not self._restricted or caller.group is None:
            return True
        patterns = self._groups.get(caller.group, NOTHING)[0]
        return patterns is None or any(fnmatchcase(connection, pattern) for pattern in patterns)

    def reachable(self, caller: Caller, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Those of `targets` that the caller may use."""
        if not self._restricted or caller.group is None:
            return targets
        return tuple(target for target in targets if self.may_reach(caller, target.connection))


def _all_or(patterns: Iterable[str]) -> tuple[str, ...] | None:
    """None for everything, else the patterns."""
    found = tuple(patterns)
    return None if "*" in found else found
