"""The parts of a text in which commands are ignored: code fences, inline code, and quoted lines.

People paste logs, READMEs and other people's messages, whose contents are not their own words. The rules are
CommonMark's (https://spec.commonmark.org/0.31.2/, 4.5, 5.1 and 6.1), as far as they matter in chats.
"""

import re
from bisect import bisect_right
from itertools import pairwise

from openai_proxy.steps import blank, find, finditer
from openai_proxy.transforms.spans import Span, merged

_LONGEST = 4096
"""Characters by which a fence, or a line of only whitespace, is recognised in a text that is searched in steps."""

_ITEMS = r"(?:[ ]{0,3}(?:[-*+]|\d{1,9}[.)])[ \t]{1,4}){0,9}"  # a quote or a fence may begin in an item of a list
_FENCE = re.compile(rf"^(?:{_ITEMS}[ ]{{0,3}}|[ \t]*)(`{{3,}}|~{{3,}})", re.MULTILINE)
_QUOTED = re.compile(rf"^{_ITEMS}[ ]{{0,3}}>", re.MULTILINE)
_TICKS = re.compile(r"`+")
_BLANK = re.compile(r"\n[ \t]*(?=\n)")


def protected(text: str, prefix: str) -> list[Span]:
    """The spans in which nothing is a command, in order and disjoint. Time is linear.

    If commands themselves begin with such a mark (`prefix`), nothing is protected.
    """
    if "`" in prefix or prefix.startswith(("~", ">")):
        return []
    if all(find(text, mark) < 0 for mark in "`~>"):
        return []
    fenced = _fences(text)
    quoted = finditer(_QUOTED, text, 0, len(text), _LONGEST)
    lines = [(match.start(), _line_end(text, match.end())) for match in quoted if not _within(fenced, match.start())]
    outside = merged([*fenced, *lines])
    return merged([*outside, *_inline(text, outside)])


def _within(spans: list[Span], place: int) -> bool:
    at = bisect_right(spans, (place, 1 << 62)) - 1
    return at >= 0 and place < spans[at][1]


def _fences(text: str) -> list[Span]:
    """The spans of fenced code; an unclosed fence extends to the end."""
    spans: list[Span] = []
    opened: re.Match[str] | None = None
    for match in finditer(_FENCE, text, 0, len(text), _LONGEST):
        marks, end = match[1], _line_end(text, match.end())
        if marks[0] == "`" and text.find("`", match.end(), end) >= 0:
            continue
        if opened is None:
            opened = match
        elif marks.startswith(opened[1]) and blank(text, match.end(), end):
            spans.append((opened.start(), end))
            opened = None
    if opened is not None:
        spans.append((opened.start(), len(text)))
    return spans


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _inline(text: str, outside: list[Span]) -> list[Span]:
    """The spans of inline code: from a run of backticks to the next one as long, within the same paragraph."""
    spans: list[Span] = []
    start = 0
    for stop, following in [*outside, (len(text), len(text))]:
        for begin, end in _paragraphs(text, start, stop):
            spans += _code_spans(text, begin, end)
        start = following
    return spans


def _paragraphs(text: str, start: int, stop: int) -> list[Span]:
    edges = [start, *(match.start() for match in finditer(_BLANK, text, start, stop, _LONGEST)), stop]
    return list(pairwise(edges))


def _code_spans(text: str, start: int, stop: int) -> list[Span]:
    runs = merged([match.span() for match in finditer(_TICKS, text, start, stop, 0)])
    later: dict[int, int] = {}  # length of a run -> the next run of that length, seen from the end
    closes = [-1] * len(runs)
    for index in range(len(runs) - 1, -1, -1):
        length = runs[index][1] - runs[index][0]
        closes[index] = later.get(length, -1)
        later[length] = index
    spans: list[Span] = []
    index = 0
    while index < len(runs):
        begin = runs[index][0]
        escaped = begin > start and text[begin - 1] == "\\"
        close = -1 if escaped else closes[index]
        if close >= 0:
            spans.append((begin, runs[close][1]))
        index = (close if close >= 0 else index) + 1
    return spans
