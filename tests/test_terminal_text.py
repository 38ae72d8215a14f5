"""Control sequences are made visible; ordinary text stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.terminal_text import printable, printable_line

OBEYED = "\x00\x07\x08\x0b\x0d\x1b\x7f\x85\x9b\x9d\u061c\u200e\u2028\u2029\u202e\u2066\u2069\ud800"


@pytest.mark.parametrize("char", OBEYED)
def test_control_sequences_are_escaped(char: str) -> None:
    assert char not in printable(f"a{char}b")
    assert printable_line(f"a{char}b").isprintable()


@pytest.mark.parametrize(
    "text", ["plain", "naïve — 12 €", "c'est\u202fça", "日本\u3000語", "👩\u200d🚀", "שלום", "a\tb\nc"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text


def test_one_line_is_one_line() -> None:
    assert printable_line("a\nb\tc\r\n") == "a\\nb\\tc\\r\\n"


@given(st.text(st.characters()))
def test_any_text_can_be_written_and_holds_no_escape(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not set(shown) & set(OBEYED)
    assert len(printable_line(text).splitlines()) <= 1
