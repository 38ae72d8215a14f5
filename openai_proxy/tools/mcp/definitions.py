"""What a server says its tools are: an immutable list, hashed, so that a change is seen (and held back if pinned).

A server that changes a description after it was trusted ("rug pull") is a known attack, and Notion's server broke
every request overnight by changing a schema (https://github.com/langchain-ai/langchain/issues/39271).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from openai_proxy.tools.result import clean

DESCRIPTION_CAP = 8_000
"""Characters of one description: the longest of the reference servers has 2,000."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """One tool as its server describes it. `digest` covers name, description and schema."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(compare=False)
    digest: str

    @classmethod
    def of(cls, name: str, description: str | None, schema: Mapping[str, Any]) -> "ToolDefinition":
        """From what the server sent; the description is cleaned and cut, the schema is kept verbatim."""
        text = clean(description or "").strip()
        if len(text) > DESCRIPTION_CAP:
            text = text[: DESCRIPTION_CAP - 1] + "…"
        raw = orjson.dumps([name, text, schema], option=orjson.OPT_SORT_KEYS)
        return cls(name, text, schema, hashlib.sha256(raw).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of one server, by name, and how many more it had than are kept."""

    tools: Mapping[str, ToolDefinition]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """How a new listing differs from the last."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(old: Mapping[str, ToolDefinition], new: Mapping[str, ToolDefinition]) -> Change:
    """What `new` adds, removes and redefines."""
    return Change(
        added=_sorted(new.keys() - old.keys()),
        removed=_sorted(old.keys() - new.keys()),
        changed=_sorted(name for name in old.keys() & new.keys() if old[name].digest != new[name].digest),
    )


def hold_back(
    accepted: Mapping[str, ToolDefinition], new: Mapping[str, ToolDefinition]
) -> tuple[dict[str, ToolDefinition], tuple[str, ...]]:
    """`new`, but with the accepted definition of every tool that was redefined; and the names of those."""
    held = compare(accepted, new).changed
    return {name: accepted[name] if name in held else tool for name, tool in new.items()}, held


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
