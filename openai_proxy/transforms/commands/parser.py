"""Commands in a text: where they stand, what they are called and what they are given.

    !/name                          a word of its own: `#!/bin/sh` and `x!/set` are none; right behind another is fine
    !/name(value, key=value, …)     values to the next comma or bracket, or in quotes; \\ takes any character as it is

Only the person's own words count: what stands in code or in a quoted line (protected.py) is left alone, and so is
whatever does not come to a proper end.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from openai_proxy.transforms.commands.protected import Span, protected

MAX_LENGTH = 4000  # characters of one command
MAX_CALLS = 100  # looked at in one text; what follows is text

Argument = tuple[str | None, str]


class CommandCall(NamedTuple):
    """One command: `text[start:end]`. Names of commands and arguments are lower case with dashes."""

    name: str
    arguments: tuple[Argument, ...]
    start: int
    end: int

    def get(self, key: str) -> str | None:
        """The value of the last argument called `key`."""
        return next((value for name, value in reversed(self.arguments) if name == key), None)


class SearchBudget:
    """How many beginnings of commands may still be looked at in a request, whose messages may be many."""

    __slots__ = ("left",)

    def __init__(self, left: int = 10 * MAX_CALLS) -> None:
        self.left = left

    def spend(self) -> bool:
        """True if one more may be looked at."""
        self.left -= 1
        return self.left >= 0


_KEY = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]{0,63})\s*=")
_AFTER = re.compile(r"\s|$|[.,;:!?)\]}'\"…](?:\s|$)")
_VALUE = re.compile(r"\s*((?:[^\\,)]|\\.)*+)(?=[,)])", re.DOTALL)
_QUOTED = {
    quote: re.compile(rf"\s*{quote}((?:[^\\{quote}]|\\.)*+){quote}\s*(?=[,)])", re.DOTALL) for quote in ('"', "'")
}
_SPACE = re.compile(r"\s*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@lru_cache(maxsize=32)
def _opening(prefix: str, before: str) -> re.Pattern[str]:
    return re.compile(before + re.escape(prefix) + r"([A-Za-z][A-Za-z0-9_-]{0,63})")


def _next(text: str, prefix: str, position: int, calls: list[CommandCall]) -> re.Match[str] | None:
    """The next that may be a command: right behind the last one, or a word of its own."""
    behind = _opening(prefix, "").match(text, position) if calls and calls[-1].end == position else None
    return behind or _opening(prefix, r"(?<!\S)").search(text, position)


def find(
    text: str, prefix: str, *, spans: Sequence[Span] | None = None, budget: SearchBudget | None = None
) -> list[CommandCall]:
    """Every command in `text`, in order. `spans`: where none counts, if the caller knows; else that is found out."""
    if prefix not in text:
        return []
    calls: list[CommandCall] = []
    spans = protected(text, prefix) if spans is None else spans
    budget = budget or SearchBudget()
    position = 0
    for _ in range(MAX_CALLS):
        match = _next(text, prefix, position, calls)
        if match is None or not budget.spend():
            break
        position = match.end()
        before = bisect_right(spans, (match.start(), len(text))) - 1
        if before >= 0 and match.start() < spans[before][1]:
            position = max(position, spans[before][1])
            continue
        name = _normal(match[1])
        if text.startswith("(", position):
            parsed = _arguments(text, position + 1, min(len(text), match.start() + MAX_LENGTH))
            if parsed is None:
                continue
            arguments, end = parsed
        elif _AFTER.match(text, position) or text.startswith(prefix, position):
            arguments, end = (), position
        else:
            continue
        calls.append(CommandCall(name, arguments, match.start(), end))
        position = end
    return calls


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def _arguments(text: str, position: int, length: int) -> tuple[tuple[Argument, ...], int] | None:
    """The arguments from behind the bracket, and where the command ends; None where it has no proper end."""
    arguments: list[Argument] = []
    while True:
        key = _KEY.match(text, position, length)
        if key is not None:
            position = key.end()
        parsed = _value(text, position, length)
        if parsed is None:
            return None
        value, position, quoted = parsed
        closed = text[position] == ")"
        position += 1
        if value or quoted or key is not None:
            arguments.append((_normal(key[1]) if key is not None else None, value))
        if closed:
            return tuple(arguments), position


def _value(text: str, position: int, length: int) -> tuple[str, int, bool] | None:
    """A value, the position of the comma or bracket behind it, and if it was quoted; None without one of these."""
    space = _SPACE.match(text, position, length)
    begin = space.end() if space is not None else position
    quote = text[begin : begin + 1] if begin < length else ""
    quoted = _QUOTED.get(quote)
    match = (quoted or _VALUE).match(text, position, length)
    if match is None:
        return None
    value = _ESCAPED.sub(r"\1", match[1]) if "\\" in match[1] else match[1]
    return (value if quoted is not None else value.strip()), match.end(), quoted is not None


def without(text: str, calls: list[CommandCall]) -> str:
    """`text` without `calls`, and without the space that only they needed."""
    pieces: list[str] = []
    position = 0
    for call in calls:
        start, end = call.start, call.end
        line_start = start == 0 or text[start - 1] == "\n" or not text[position:start].strip(" \t")
        if line_start:
            while end < len(text) and text[end] in " \t":
                end += 1
            if end < len(text) and text[end] == "\n" and (start == 0 or text[start - 1] == "\n"):
                end += 1
        else:
            while start > position and text[start - 1] in " \t":
                start -= 1
        pieces.append(text[position:start])
        position = end
    pieces.append(text[position:])
    return "".join(pieces)
