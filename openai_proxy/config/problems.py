"""What is wrong with the configuration, and where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openai_proxy.errors import ProxyError
from openai_proxy.nearest import nearest

ENVIRONMENT = "environment"
"""The "file" of a problem that stands in a variable of the process, or in a flag."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` count from 1; `message` never holds a value that may be secret."""

    file: str
    line: int
    column: int
    message: str

    def __post_init__(self) -> None:
        if not self.file.isascii():  # a name on a disk may hold bytes that are not UTF-8: JSON could not carry them
            object.__setattr__(self, "file", self.file.encode("utf-8", "backslashreplace").decode())

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigError(ProxyError):
    """The configuration cannot be used (or written) at all. `problems` has every reason with its place."""

    default_code = "invalid_configuration"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """` (did you mean "x"?)` for the nearest of `right`, or an empty string where nothing is near."""
    near = nearest(wrong, right)
    return f' (did you mean "{near[0]}"?)' if near else ""
