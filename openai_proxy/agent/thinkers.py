"""Models whose chat template opens `<think>` in the prompt: their answers begin with thoughts that nothing announces.

That shows only when the tag is closed, which is too late for the answer in which it is seen first; from the next one on
the thoughts are expected. Kept in memory: after a restart one answer shows it again.
"""

from typing import Final

_MAX: Final = 1000  # names come from model files; more than this is a mistake somewhere


class Thinkers:
    """The models of the house that think before they say so."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __contains__(self, model: str) -> bool:
        return model in self._known

    def seen(self, model: str, *, thinks: bool) -> None:
        """What an answer of `model` has shown."""
        if not thinks:
            self._known.discard(model)
        elif len(self._known) < _MAX:
            self._known.add(model)
