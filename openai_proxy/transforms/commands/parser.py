"""Finds the commands in a text: positions, names and arguments.

    !/name                          a separate word, unlike `#!/bin/sh` and `x!/set`, or directly after another command
    !/name(value, key=value, …)     values end at the next comma or bracket, or are quoted; \\ escapes any character

Only the person's own words count: code and quoted lines (protected.py) are ignored, and so is anything without a proper
end.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from openai_proxy import steps
from openai_proxy.protocols.call_arguments import Grammar, read_arguments, words
from openai_proxy.transforms.commands.protected import protected
from openai_proxy.transforms.spans import Span

MAX_LENGTH = 4000  # characters of one command
MAX_CALLS = 100  # possible commands examined in one text; the others are treated as text

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
    """How many more possible commands may be examined in a request, which may have many messages."""

    __slots__ = ("left",)

    def __init__(self, left: int = 10 * MAX_CALLS) -> None:
        self.left = left

    def spend(self) -> bool:
        """True if one more may be examined."""
        self.left -= 1
        return self.left >= 0


_AFTER = re.compile(r"\s|$|[.,;:!?)\]}'\"…](?:\s|$)")
_ARGUMENTS = Grammar(re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,63})\s*="), words, positional=True, space=re.compile(r"\s*"))


@lru_cache(maxsize=32)
def _opening(prefix: str, before: str) -> re.Pattern[str]:
    return re.compile(before + re.escape(prefix) + r"([A-Za-z][A-Za-z0-9_-]{0,63})")


def _next(text: str, prefix: str, position: int, calls: list[CommandCall]) -> re.Match[str] | None:
    """The next possible command: directly after the last one, or a separate word."""
    behind = _opening(prefix, "").match(text, position) if calls and calls[-1].end == position else None
    if behind is not None:
        return behind
    word = _opening(prefix, r"(?<!\S)")
    for at in range(position, len(text), steps.STEP):  # other threads get the interpreter lock between two steps
        found = word.search(text, at, at + steps.STEP + len(prefix))
        if found is not None:
            return word.match(text, found.start())  # the whole name, which a step may have cut
    return None


def find(
    text: str, prefix: str, *, spans: Sequence[Span] | None = None, budget: SearchBudget | None = None
) -> list[CommandCall]:
    """Every command in `text`, in order. `spans`: where commands are ignored; by default this finds out itself."""
    if steps.find(text, prefix) < 0:
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
            limit = min(len(text), match.start() + MAX_LENGTH)
            pairs, closed = read_arguments(_ARGUMENTS, text, position + 1, limit)
            if closed is None:
                continue
            arguments = tuple((_normal(key) if key is not None else None, value or "") for key, value in pairs)
            end = closed
        elif _AFTER.match(text, position) or text.startswith(prefix, position):
            arguments, end = (), position
        else:
            continue
        calls.append(CommandCall(name, arguments, match.start(), end))
        position = end
    return calls


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def without(text: str, calls: list[CommandCall]) -> str:
    """`text` without `calls`, and without the spaces that only separated them."""
    pieces: list[str] = []
    position = 0
    for call in calls:
        start, end = call.start, call.end
        line_start = start == 0 or text[start - 1] == "\n" or steps.blank(text, position, start, " \t")
        if line_start:
            while end < len(text) and text[end] in " \t":
                end += 1
            if end < len(text) and text[end] == "\n" and (start == 0 or text[start - 1] == "\n"):
                end += 1
        else:
            while start > position and text[start - 1] in " \t":
                start -= 1
        pieces += steps.pieces(text, position, start)
        position = end
    pieces += steps.pieces(text, position)
    return steps.join(pieces)
