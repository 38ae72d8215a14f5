"""Values of a chat request that a dialect derived from its own API's members, rather than the client setting them.

`think: false` becomes `reasoning_effort: "none"`, which some models do not support. A client's own value is passed on
even if it gets a 400; a derived one is omitted, since the client never chose it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from openai_proxy.dialects.base import Lesson


class Derived(str):
    """A derived value. It is encoded like any other text."""

    __slots__ = ()


def derived(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, name of the value) of derived values: ("reasoning.effort", "reasoning_effort=none").

    The name is the same in the chat and Responses APIs, so one lesson applies to both.
    """
    for name, value in document.items():
        if isinstance(value, Derived):
            yield name, f"{name}={value}"
        elif isinstance(value, dict):
            for inner, member in value.items():
                if isinstance(member, Derived):
                    yield f"{name}.{inner}", f"{name}_{inner}={member}"


def known_unfit(document: Mapping[str, Any], known: Lesson) -> list[tuple[str, str]]:
    """Those of `derived` that a model with these `known` facts does not support."""
    return [(path, value) for path, value in derived(document) if value in known.unfit] if known.unfit else []
