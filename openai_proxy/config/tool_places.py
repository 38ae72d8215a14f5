"""Texts of a tool without code: `{name}` is replaced by an argument, `${NAME}` by an environment variable.

Both are parsed before either is filled in, so that a secret with braces stays unchanged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openai_proxy.config.interpolate import expand

_PLACE = r"[A-Za-z_][A-Za-z0-9_-]*"
_TOKEN = re.compile(
    rf"\$\$|\$\{{[A-Za-z_][A-Za-z0-9_]*(?::-[^}}]*)?\}}|\{{(?P<literal>\{{{_PLACE}\}})\}}|\{{(?P<place>{_PLACE})\}}"
)
_WHOLE_VARIABLE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class ArgumentPlace:
    """A placeholder for the argument `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A text with placeholders: literal pieces and placeholders in order."""

    parts: tuple[str | ArgumentPlace, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The arguments it takes."""
        return tuple(part.name for part in self.parts if isinstance(part, ArgumentPlace))

    @property
    def whole(self) -> str | None:
        """The argument that is the whole text; None if there is more."""
        if len(self.parts) == 1 and isinstance(self.parts[0], ArgumentPlace):
            return self.parts[0].name
        return None

    @property
    def beginning(self) -> str:
        """The literal text before the first placeholder."""
        return self.parts[0] if self.parts and isinstance(self.parts[0], str) else ""

    def sample(self, filler: str = "x") -> str:
        """The text with `filler` for every placeholder."""
        return "".join(part if isinstance(part, str) else filler for part in self.parts)


def read_text(text: str, environ: Mapping[str, str] | None = None) -> PlacedText:
    """Parse `text` with its placeholders; doubled braces, `{{name}}`, are the literal text `{name}`.

    With `environ` its variables are filled in, as everywhere in conf/; raises interpolate.MissingVariable for one that
    is not set. Without, `${NAME}` is literal text.
    """
    if environ is not None and _WHOLE_VARIABLE.match(text):
        return _joined([expand(text, environ)])
    parts: list[str | ArgumentPlace] = []
    end = 0
    for found in _TOKEN.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        if (place := found["place"]) is not None:
            parts.append(ArgumentPlace(place))
        elif (literal := found["literal"]) is not None:
            parts.append(literal)
        else:
            parts.append(expand(found[0], environ) if environ is not None else found[0])
    parts.append(text[end:])
    return _joined(parts)


def _joined(parts: list[str | ArgumentPlace]) -> PlacedText:
    joined: list[str | ArgumentPlace] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return PlacedText(tuple(joined))


def read_value(value: Any) -> Any:
    """A JSON value with every string in it parsed by `read_text`; keys are kept as they are."""
    if isinstance(value, str):
        return read_text(value)
    if isinstance(value, dict):
        return {key: read_value(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [read_value(member) for member in value]
    return value
