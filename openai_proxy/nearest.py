"""Suggestions for misspelt names."""

from collections.abc import Iterable
from typing import Final

_MOST: Final = 2000  # maximum number of names compared: some lists come from clients
_LONGEST: Final = 64


def nearest(wrong: str, names: Iterable[str], count: int = 1) -> list[str]:
    """The `names` most similar to `wrong`, at most `count`, the best first."""
    import difflib  # only needed for errors

    known = {name.lower(): name for name, _ in zip(names, range(_MOST), strict=False)}
    found = difflib.get_close_matches(wrong[:_LONGEST].lower(), known, n=count, cutoff=0.6)
    return [known[name] for name in found]


def suggestion(wrong: str, names: Iterable[str]) -> str:
    """`" (did you mean x?)"` for the name most similar to `wrong`, or ""."""
    found = nearest(wrong, names)
    return f" (did you mean {found[0]}?)" if found else ""
