"""`${NAME}`, `${NAME:-default}`, `env:NAME` and `$$` in the strings of a configuration.

Values from the environment are not expanded again: a variable that contains `${OTHER}` stays that text.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Path = tuple[str | int, ...]

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLACEHOLDER = re.compile(rf"\$\$|\$\{{({_NAME})(?::-([^}}]*))?\}}")
_WHOLE = re.compile(rf"env:({_NAME})\Z")


class MissingVariable(Exception):
    """A variable that is not set."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its variables filled in; raises MissingVariable for the first one that is not set and has no default.

    As in a shell, the default of `:-` also replaces an empty variable.
    """
    whole = _WHOLE.match(text)
    if whole is not None:
        name = whole[1]
        if name not in environ:
            raise MissingVariable(name)
        return environ[name]
    if "$" not in text:
        return text

    def fill(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name is None:
            return "$"
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise MissingVariable(name)
        return value

    return _PLACEHOLDER.sub(fill, text)


def literal(value: Any) -> Any:
    """`value` escaped so that it is read back unchanged: what a command writes is data.

    Strings, also in lists and mappings. Raises ValueError for `env:NAME`, which cannot be escaped.
    """
    if isinstance(value, str):
        if _WHOLE.match(value):
            raise ValueError(value)
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: literal(member) for key, member in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return value


def expand_all(
    data: Any, environ: Mapping[str, str], keep: Callable[[Path], bool], path: Path = ()
) -> tuple[Any, list[tuple[Path, str]]]:
    """`data` with strings expanded, except at paths for which `keep` is true, and (path, name) of missing variables.

    A string with a missing variable becomes None.
    """
    missing: list[tuple[Path, str]] = []

    def walk(value: Any, here: Path) -> Any:
        if isinstance(value, str):
            try:
                return expand(value, environ)
            except MissingVariable as error:
                missing.append((here, error.name))
                return None
        if isinstance(value, dict):
            return {k: v if keep((*here, k)) else walk(v, (*here, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v, (*here, i)) for i, v in enumerate(value)]
        return value

    return walk(data, path), missing
