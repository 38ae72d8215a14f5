"""Changes to a request's top-level members, noted before they are made: the rest of its bytes can stay as it is."""

from dataclasses import dataclass, field
from typing import Any, Final

from openai_proxy.dialects import json_text

_ESSENTIAL: Final = frozenset({"model", "messages"})
"""Members without which a chat request is none; what lies below them may go."""


@dataclass(slots=True)
class BodyEdits:
    """Members to set and to take out; `dropped` names what the caller must be told of."""

    replace: dict[str, Any] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.replace or self.remove)

    def as_json(self) -> dict[str, bytes]:
        """`replace` with the values encoded."""
        return {name: json_text.dumps(value) for name, value in self.replace.items()}

    def applied(self, document: dict[str, Any]) -> dict[str, Any]:
        """A copy of `document` with the changes made."""
        return {**{name: value for name, value in document.items() if name not in self.remove}, **self.replace}

    def drop(self, document: dict[str, Any], path: str) -> None:
        """Take out what lies at `path` of `document` (`seed`, `messages[].name`), if anything does."""
        first, *rest = path.replace("[]", ".[]").split(".")
        if first not in document or first in self.remove or (first in _ESSENTIAL and not rest):
            return
        if not rest:
            self.remove.append(first)
            self.replace.pop(first, None)
            if document[first] is not None:
                self.dropped.append(first)
            return
        cut, changed = _without(self.replace.get(first, document[first]), rest)
        if changed:
            self.replace[first] = cut
            self.dropped.append(path)


def _without(value: Any, path: list[str]) -> tuple[Any, bool]:
    """`value` without what lies at `path`, on a copy, and whether anything did."""
    step, *rest = path
    if step == "[]" and isinstance(value, list) and rest:
        pairs = [_without(item, rest) for item in value]
        return [item for item, _ in pairs], any(changed for _, changed in pairs)
    if isinstance(value, dict) and step in value:
        if not rest:
            return {name: item for name, item in value.items() if name != step}, True
        inner, changed = _without(value[step], rest)
        return ({**value, step: inner}, True) if changed else (value, False)
    return value, False
