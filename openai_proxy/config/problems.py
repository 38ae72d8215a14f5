"""What is wrong with the configuration, and where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from openai_proxy.errors import ProxyError
from openai_proxy.nearest import nearest

ENVIRONMENT = "environment"
"""The "file" of a problem in a variable of the process, or in a flag."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` count from 1; `message` never holds a value that may be secret."""

    file: str
    line: int
    column: int
    message: str

    def __post_init__(self) -> None:
        if not self.file.isascii():  # a name on disk may have bytes that are not UTF-8, which JSON cannot carry
            object.__setattr__(self, "file", self.file.encode("utf-8", "backslashreplace").decode())

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


WARNING: Final = "warning: "
"""The prefix of problems that do not make a configuration invalid."""


def warning(place: tuple[str, int, int], message: str) -> Problem:
    """A problem that is only a warning."""
    return Problem(*place, WARNING + message)


class ConfigError(ProxyError):
    """The configuration cannot be used (or written) at all. `problems` has every reason with its place."""

    default_code = "invalid_configuration"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """` (did you mean "x"?)` for the nearest of `right`, or an empty string."""
    near = nearest(wrong, right)
    return f' (did you mean "{near[0]}"?)' if near else ""
