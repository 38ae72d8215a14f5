"""The `.env` file: python-dotenv's grammar, but values are not expanded and every line knows its number."""

import io
import os
from pathlib import Path

from openai_proxy.config import files
from openai_proxy.config.problems import Problem

Line = tuple[str, str, int]
"""Name, value, number of the line."""


def read_dotenv(path: Path | None, before: tuple[Line, ...] | None) -> tuple[tuple[Line, ...], list[Problem]]:
    """The variables of the file and what is wrong with it; none if it is not there.

    A file that cannot be read, or holds a line that is no assignment, keeps its last good form `before`; where there
    is none yet, its sound lines apply.
    """
    if path is None or str(path) == os.devnull:
        return (), []
    try:
        data = files.read(path)
    except files.Unreadable as error:
        return before or (), [Problem(str(path), 1, 1, str(error))]
    if data is None:
        return (), []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return before or (), [Problem(str(path), 1, 1, "this is not UTF-8 text: save the file as UTF-8")]
    lines, problems = _parse(text, str(path))
    return (lines if before is None or not problems else before), problems


def _parse(text: str, file: str) -> tuple[tuple[Line, ...], list[Problem]]:
    from dotenv.parser import parse_stream  # imported here: most houses start without a .env file

    lines: list[Line] = []
    problems: list[Problem] = []
    for binding in parse_stream(io.StringIO(text)):
        written = binding.original.string
        number = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error:
            problems.append(Problem(file, number, 1, "expected NAME=value"))
        elif binding.key is not None and binding.value is not None:
            lines.append((binding.key, binding.value, number))
    return tuple(lines), problems
