"""Limits on size, depth and activity of an answer that is processed here rather than only passed on.

A provider may be broken or malicious. Its output becomes messages, records and later requests, so it is bounded where
it arrives; an answer over a limit is an error, never a truncated answer.
"""

from collections.abc import Iterable
from typing import Any, Final

from openai_proxy.dialects.base import MAX_ANSWER, Chunk
from openai_proxy.errors import UpstreamInvalid

MAX_NESTING: Final = 100
"""Maximum nesting of an answer. Real ones have ten levels; Python's own recursion ends at a thousand."""

MAX_CALLS: Final = 1000
"""Maximum tool calls in one answer. No model makes a hundred."""

MAX_CHOICES: Final = 128
"""Maximum choices of one answer: the chat API's maximum for `n`."""


class AnswerBounds:
    """The limits of one answer. Every method raises UpstreamInvalid if one is exceeded."""

    def __init__(self) -> None:
        self._size = 0
        self.waiting = 0  # bytes since the last chunks: of an incomplete event or answer
        self._openings = 0  # brackets since the last check of a chunk: an upper bound of its depth
        self._calls: set[object] = set()

    def received(self, data: bytes) -> None:
        """Count `data`, without its content coding."""
        self._size += len(data)
        self.waiting += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large")
        self._openings += data.count(b"{") + data.count(b"[")

    def read(self, chunks: Iterable[Chunk]) -> None:
        """Count `chunks`."""
        deep, looked = self._openings > MAX_NESTING, False
        for chunk in chunks:
            looked = True
            if deep:
                check_nesting(chunk)
            choices = chunk.get("choices") or ()
            if len(choices) > MAX_CHOICES:
                raise _too_many_choices()
            for choice in choices:
                if type(choice) is not dict:
                    continue
                index = choice.get("index")
                if type(index) is int and not -MAX_CHOICES < index < MAX_CHOICES:
                    raise _too_many_choices()
                delta = choice["delta"] if "delta" in choice else choice.get("message")
                if type(delta) is dict and "tool_calls" in delta:
                    self._count(delta["tool_calls"])
        if looked:
            self._openings = self.waiting = 0

    def _count(self, calls: Any) -> None:
        for call in calls if type(calls) is list else ():
            if type(call) is dict:
                index, name = call.get("index"), call.get("id")
                self._calls.add((index if type(index) is int else None, name if type(name) is str else None))
        if len(self._calls) > MAX_CALLS:
            raise UpstreamInvalid("The model called too many tools at once.", code="upstream_too_many_calls")


def _too_many_choices() -> UpstreamInvalid:
    return UpstreamInvalid("The provider sent too many choices at once.", code="upstream_too_many_choices")


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
