"""What a glob is, as `fnmatch` reads one."""

from typing import Final

_WILDCARDS: Final = frozenset("*?[")


def is_glob(text: str) -> bool:
    """True if `text` may match other names than itself."""
    return not _WILDCARDS.isdisjoint(text)
