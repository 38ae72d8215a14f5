"""The fingerprints of texts, media and arguments: the same for the same content, however large or deep."""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.agent import fingerprint
from openai_proxy.tasks import in_thread

DEEP = 600  # levels; Python's recursion limit is a thousand frames


@given(st.text(st.sampled_from("ab \t\n\u00a0\x1c")), st.integers(1, 9))
def test_a_long_text_is_normalised_in_steps(text: str, step: int) -> None:
    with patch.object(fingerprint, "_STEP", step):
        assert fingerprint.text(text) == " ".join(text.split())


def nested(levels: int, inside: Any = 1) -> Any:
    for _ in range(levels):
        inside = {"a": inside}
    return inside


@pytest.mark.parametrize("levels", [0, 300, DEEP, 1000])
def test_deep_arguments_are_distinguished(levels: int) -> None:
    first = fingerprint.canonical({"x": nested(levels), "y": [2**70, "b"]})
    assert fingerprint.canonical({"y": [2**70, "b"], "x": nested(levels)}) == first
    others: list[Any] = [nested(levels, 2), nested(levels, "1"), nested(levels + 1), [nested(levels)]]
    assert first not in [fingerprint.canonical({"x": other, "y": [2**70, "b"]}) for other in others]


def test_deep_arguments_of_a_call_can_be_read() -> None:
    deep = '{"a":' * DEEP + "1" + "}" * DEEP
    call = {"id": "c", "function": {"name": "f", "arguments": deep}}
    ((call_id, name, _),) = fingerprint.named_calls({"tool_calls": [call]})
    assert (call_id, name) == ("c", "f")


async def test_a_part_that_is_nested_too_deeply_has_no_text() -> None:
    part = nested(990)
    assert await in_thread(fingerprint.text, [part, {"text": "x"}]) == fingerprint.text([part, {"text": "x"}]) == "x"
