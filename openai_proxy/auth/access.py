"""What a caller may reach: the connections and models of their group."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from openai_proxy.config.proxy import GroupConfig
from openai_proxy.exchange import Caller, Target

_CACHE_SIZE = 8192
NOTHING: tuple[tuple[str, ...] | None, tuple[str, ...] | None] = ((), ())
"""What a group that is not configured may reach: an unknown name fails closed."""


class Access:
    """The groups' permissions, compiled. A caller without a group may reach everything."""

    def __init__(self, groups: Mapping[str, GroupConfig]) -> None:
        self._groups = {
            name: (_all_or(group.allowed_connections), _all_or(group.allowed_models)) for name, group in groups.items()
        }
        self._restricted = any(rule != (None, None) for rule in self._groups.values())
        self._known: dict[tuple[str, str], bool] = {}

    def restricts(self, caller: Caller) -> bool:
        """True if there is anything the caller may not do."""
        return self._restricted and caller.group is not None

    def restricts_models(self, caller: Caller) -> bool:
        """True if there is a model the caller may not ask for."""
        if not self._restricted or caller.group is None:
            return False
        return self._groups.get(caller.group, NOTHING)[1] is not None

    def may_use(self, caller: Caller, model: str) -> bool:
        """True if the caller's group may ask for `model` (the name as asked)."""
        if not self._restricted or caller.group is None:
            return True
        key = (caller.group, model)
        known = self._known.get(key)
        if known is None:
            patterns = self._groups.get(caller.group, NOTHING)[1]
            known = patterns is None or any(fnmatchcase(model, pattern) for pattern in patterns)
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
        """Those of `targets` the caller may reach."""
        if not self._restricted or caller.group is None:
            return targets
        return tuple(target for target in targets if self.may_reach(caller, target.connection))


def _all_or(patterns: Iterable[str]) -> tuple[str, ...] | None:
    """None for everything, else the patterns."""
    found = tuple(patterns)
    return None if "*" in found else found
