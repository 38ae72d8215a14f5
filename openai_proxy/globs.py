"""Globs, as `fnmatch` reads them."""

from typing import Final

_WILDCARDS: Final = frozenset("*?[")


def is_glob(text: str) -> bool:
    """True if `text` may match other names than itself."""
    return not _WILDCARDS.isdisjoint(text)
