"""Values of a chat request that no client wrote: a dialect derived them from what its own API says otherwise.

`think: false` becomes `reasoning_effort: "none"`, which some models lack. A client's own value passes with its 400; a
derived one is left out, since the client never chose it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from openai_proxy.dialects.base import Lesson


class Derived(str):
    """A derived value. It is written like any other text."""

    __slots__ = ()


def derived(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, name of the value) of what was derived: ("reasoning.effort", "reasoning_effort=none").

    The name is the same in the chat and Responses APIs, so that one lesson holds for both.
    """
    for name, value in document.items():
        if isinstance(value, Derived):
            yield name, f"{name}={value}"
        elif isinstance(value, dict):
            for inner, member in value.items():
                if isinstance(member, Derived):
                    yield f"{name}.{inner}", f"{name}_{inner}={member}"


def known_unfit(document: Mapping[str, Any], known: Lesson) -> list[tuple[str, str]]:
    """Those of `derived` that a model of which this is `known` lacks."""
    return [(path, value) for path, value in derived(document) if value in known.unfit] if known.unfit else []
