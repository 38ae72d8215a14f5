"""How large, how deep and how busy an answer may be that is read here, and not only passed on.

A provider may be broken, or not whom one takes it for. What it sends becomes messages, records and questions of the
next round, so it is bounded where it comes in; an answer that is over a bound is an error, and never a shorter answer.
"""

from collections.abc import Iterable
from typing import Any, Final

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.reading import MAX_ANSWER
from openai_proxy.errors import UpstreamInvalid

MAX_NESTING: Final = 100
"""Levels of an answer. Real ones have ten; Python's own recursion ends at a thousand."""

MAX_CALLS: Final = 1000
"""Tool calls in one answer. No model makes a hundred."""


class AnswerBounds:
    """Those of one answer. Every method raises UpstreamInvalid for what is too much."""

    def __init__(self) -> None:
        self._size = 0
        self._openings = 0  # brackets since a chunk was last looked at: as many levels at most
        self._calls: set[object] = set()

    def came(self, data: bytes) -> None:
        """`data` has come, without its content coding."""
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large")
        self._openings += data.count(b"{") + data.count(b"[")

    def read(self, chunks: Iterable[Chunk]) -> None:
        """`chunks` are what came."""
        deep, looked = self._openings > MAX_NESTING, False
        for chunk in chunks:
            looked = True
            if deep:
                check_nesting(chunk)
            for choice in chunk.get("choices") or ():
                delta = choice.get("delta") if type(choice) is dict else None
                if type(delta) is dict and "tool_calls" in delta:
                    self._count(delta["tool_calls"])
        if looked:
            self._openings = 0

    def _count(self, calls: Any) -> None:
        for call in calls if type(calls) is list else ():
            if type(call) is dict:
                index, name = call.get("index"), call.get("id")
                self._calls.add((index if type(index) is int else None, name if type(name) is str else None))
        if len(self._calls) > MAX_CALLS:
            raise UpstreamInvalid("The model called too many tools at once.", code="upstream_too_many_calls")


def check_nesting(document: Any) -> None:
    """Raise UpstreamInvalid for a document of more than MAX_NESTING levels."""
    level: list[Any] = [document] if type(document) in (dict, list) else []
    for _ in range(MAX_NESTING + 1):
        level = [
            inner
            for container in level
            for inner in (container.values() if type(container) is dict else container)
            if type(inner) in (dict, list)
        ]
        if not level:
            return
    raise UpstreamInvalid("The provider's answer is nested too deeply.", code="upstream_too_deep")
