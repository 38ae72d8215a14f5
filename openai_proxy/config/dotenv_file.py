"""The `.env` file: python-dotenv's grammar, but values are not expanded and every line has its number."""

import io
import os
import re
from pathlib import Path

from openai_proxy.config import files
from openai_proxy.config.problems import Problem

Line = tuple[str, str, int]
"""Name, value, line number."""


def read_dotenv(path: Path | None, before: tuple[Line, ...] | None) -> tuple[tuple[Line, ...], list[Problem]]:
    """The variables of the file and its problems; none if it does not exist.

    A file that cannot be read, or has an invalid line, keeps its last good form `before`; without one, its valid lines
    apply.
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
    from dotenv.parser import parse_stream  # imported here: most installations start without a .env file

    lines: list[Line] = []
    problems: list[Problem] = []
    for binding in parse_stream(io.StringIO(text)):
        written = binding.original.string
        number = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error:
            opened = re.match(r"\s*(export\s+)?\w+\s*=\s*['\"]", written)
            words = "the quote that opens here is never closed" if opened else "expected NAME=value"
            problems.append(Problem(file, number, opened.end() if opened else 1, words))
        elif binding.key is not None and binding.value is not None:
            lines.append((binding.key, binding.value, number))
    return tuple(lines), problems
