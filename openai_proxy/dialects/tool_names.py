"""Names of tools that every provider takes: `[A-Za-z0-9_-]{1,64}`, and the way back to the client's own.

Gemini's and Ollama's clients may use dots, colons and more: https://ai.google.dev/api/caching#FunctionDeclaration
"""

import re
from typing import Final

_LENGTH: Final = 64
_FIT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]")


class ToolNames:
    """The names of one request's tools."""

    def __init__(self) -> None:
        self._fit: dict[str, str] = {}  # the client's name -> ours, for those that differ
        self._original: dict[str, str] = {}

    def fit(self, name: str) -> str:
        """`name` as providers take it; the same every time, and never the same for two names."""
        if _FIT.fullmatch(name):
            return name
        known = self._fit.get(name)
        if known is None:
            base = known = _UNFIT.sub("_", name)[:_LENGTH] or "_"
            number = 2
            while known in self._original:
                known = f"{base[: _LENGTH - 4]}_{number}"
                number += 1
            self._fit[name] = known
            self._original[known] = name
        return known

    def original(self, name: str) -> str:
        """The client's own name for a tool."""
        return self._original.get(name, name)
