"""Models whose chat template opens `<think>` in the prompt: their answers begin with thoughts that nothing announces.

That shows only when the tag is closed, which is too late for the answer in which it is seen first; from the next one on
the thoughts are expected.
"""

from typing import Protocol


class Thinking(Protocol):
    """Whether the model of one turn thinks before it says so."""

    @property
    def expected(self) -> bool:
        """True if its answers are known to begin with thoughts."""
        ...

    def seen(self, *, thinks: bool) -> None:
        """What an answer of it has shown."""
        ...


class ThinkingMemory:
    """What is known of one model, in memory."""

    def __init__(self) -> None:
        self.expected = False

    def seen(self, *, thinks: bool) -> None:
        """See Thinking."""
        self.expected = thinks
