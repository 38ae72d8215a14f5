"""Tool names that every provider accepts, `[A-Za-z0-9_-]{1,64}`, and their mapping to the client's own names.

Gemini's and Ollama's clients may use dots, colons and more: https://ai.google.dev/api/caching#FunctionDeclaration
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_LENGTH: Final = 64
_FIT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]")


def name_of(tool: Mapping[str, Any]) -> str:
    """The name in a tool's definition, or in a `tool_choice`; "" if it has none."""
    inner = tool.get("function") or tool.get("custom")
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


class ToolNames:
    """The names of one request's tools."""

    def __init__(self) -> None:
        self._fit: dict[str, str] = {}  # the client's name -> ours, if they differ
        self._original: dict[str, str] = {}

    def fit(self, name: str) -> str:
        """`name` in the form that providers accept; stable and unique."""
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
