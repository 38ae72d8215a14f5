"""Changes to a request's top-level members, collected before they are applied, so that other bytes stay unchanged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.protocols.json_members import LARGE, Member, edit

_ESSENTIAL: Final = frozenset({"model", "messages"})
"""Members that a chat request needs; members below them may be removed."""


@dataclass(slots=True)
class BodyEdits:
    """Members to set and to remove; `dropped` names those that must be reported to the caller."""

    replace: dict[str, Any] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.replace or self.remove)

    def as_json(self) -> dict[str, bytes]:
        """`replace` with the values encoded."""
        return {name: json_text.dumps(value) for name, value in self.replace.items()}

    def applied(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of `document` with the changes made."""
        return {**{name: value for name, value in document.items() if name not in self.remove}, **self.replace}

    def edited(self, body: bytes, places: list[Member] | None = None) -> bytes:
        """`body`, a JSON object, with the changes made and all other bytes kept; `places`: its members, if known."""
        if not self:
            return body
        if places is None and len(body) >= LARGE:
            from openai_proxy.protocols.large_json import read_object

            places = read_object(body)[1]
        return edit(body, self.as_json(), self.remove, places)

    def drop(self, document: dict[str, Any], path: str) -> None:
        """Remove what is at `path` of `document` (`seed`, `messages[].name`), if anything is."""
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
    """A copy of `value` without what is at `path`, and whether anything was there."""
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
