"""Spans of a text."""

Span = tuple[int, int]
"""Where it begins, and where it has ended."""


def merged(spans: list[Span]) -> list[Span]:
    """`spans` in order, overlapping ones merged into one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
