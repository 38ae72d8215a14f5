"""Which of a server's tools may be used: globs on the server's own tool names."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Globs:
    """One whitelist and one blacklist. An empty whitelist allows everything; a denial beats every permission."""

    whitelist: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()

    @classmethod
    def of(cls, whitelist: Sequence[str] | None, blacklist: Sequence[str] | None) -> "Globs":
        """From configuration, where a list may be missing."""
        return cls(tuple(whitelist or ()), tuple(blacklist or ()))

    def allows(self, tool: str) -> bool:
        """True if `tool` (the server's own name, case and all) may be used."""
        if any(fnmatchcase(tool, glob) for glob in self.blacklist):
            return False
        return not self.whitelist or any(fnmatchcase(tool, glob) for glob in self.whitelist)
