"""Only ruamel.yaml's scanner and parser are used: their events must be those of the whole library."""

from collections.abc import Iterator
from typing import Any

import pytest
import ruamel.yaml
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.config.yaml_events import events

PIECES = (
    "a", "b: ", "- ", "? ", ": ", "\n", "\n  ", "[", "]", "{", "}", ", ", "&x ", "*x", "!t ", "!!str ", "'", '"', "|\n",
    ">-\n", "#c", " # c\n", "---\n", "...\n", "%YAML 1.1\n", "%YAML 1.2\n", "%TAG ! tag:x,2000:\n", "<<: ", "0o7", "\t",
    "http://a:b", "yes", "\x85", "\\", "ü", "\ufeff", "%", "@",
)  # fmt: skip


def described(found: Iterator[Any]) -> list[str]:
    """Every event with its places and values, and the outcome."""
    lines = []
    try:
        for event in found:
            marks = [(mark.line, mark.column) for mark in (event.start_mark, event.end_mark)]
            more = {name: str(getattr(event, name, None)) for name in ("anchor", "tag", "value", "style", "implicit")}
            lines.append(f"{type(event).__name__} {marks} {more}")
    except Exception as error:
        lines.append(f"{type(error).__name__}: {error}")
    return lines


def whole(text: str) -> Iterator[Any]:
    yield from ruamel.yaml.YAML(typ="safe", pure=True).parse(text)


@pytest.mark.parametrize(
    "text", ["", "%YAML 1.1\n---\n[a: b, 'c'] \n", "%YAML 1.1\n---\na:\n- |\n b\n...\n---\nc", "a: [b"]
)
def test_the_same_events(text: str) -> None:
    assert described(events(text)) == described(whole(text))


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_the_same_events_for_any_text(text: str) -> None:
    assert described(events(text)) == described(whole(text))
