"""Where in a text no command counts: in a code fence, in inline code, and in a quoted line.

People paste logs, READMEs and other people's messages; what stands in those is not what they say. The rules are those
of CommonMark (https://spec.commonmark.org/0.31.2/, 4.5, 5.1 and 6.1), as far as a chat has them.
"""

import re
from bisect import bisect_right
from itertools import pairwise

Span = tuple[int, int]

_FENCE = re.compile(r"^[ ]{0,3}(?:(`{3,})([^`\n]*)|(~{3,})(.*))$", re.MULTILINE)
_QUOTED = re.compile(r"^[ ]{0,3}>.*$", re.MULTILINE)
_TICKS = re.compile(r"`+")
_BLANK = re.compile(r"\n[ \t]*(?=\n)")


def protected(text: str, prefix: str) -> list[Span]:
    """The spans in which nothing is a command, in order, none touching another. Time is linear.

    Where commands themselves begin with such a mark (`prefix`), nothing is protected.
    """
    if "`" in prefix or prefix.startswith(("~", ">")):
        return []
    if "`" not in text and "~" not in text and ">" not in text:
        return []
    fenced = _fences(text)
    lines = [match.span() for match in _QUOTED.finditer(text) if not _within(fenced, match.start())]
    outside = merged([*fenced, *lines])
    return merged([*outside, *_inline(text, outside)])


def merged(spans: list[Span]) -> list[Span]:
    """`spans` in order, those that overlap made one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _within(spans: list[Span], place: int) -> bool:
    at = bisect_right(spans, (place, 1 << 62)) - 1
    return at >= 0 and place < spans[at][1]


def _fences(text: str) -> list[Span]:
    """The spans of fenced code; an open fence reaches to the end."""
    spans: list[Span] = []
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        marks, info = match[1] or match[3], match[2] or match[4] or ""
        if opened is None:
            opened = match
        elif marks.startswith(opened[1] or opened[3]) and not info.strip():
            spans.append((opened.start(), match.end()))
            opened = None
    if opened is not None:
        spans.append((opened.start(), len(text)))
    return spans


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
    edges = [start, *(match.start() for match in _BLANK.finditer(text, start, stop)), stop]
    return list(pairwise(edges))


def _code_spans(text: str, start: int, stop: int) -> list[Span]:
    runs = [match.span() for match in _TICKS.finditer(text, start, stop)]
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
