"""Sentences of streamed text: the same wherever it is cut, nothing lost, no sentence split."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wyoming.sentences import LONGEST, SentenceCutter, parts


def cut(*pieces: str) -> list[str]:
    cutter = SentenceCutter()
    found = [sentence for piece in pieces for sentence in cutter.feed(piece)]
    return found + cutter.rest()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It is warm. Shall I open the window?", ["It is warm.", "Shall I open the window?"]),
        ("Es sind 20.5 Grad. Am 3. Mai wird es wärmer.", ["Es sind 20.5 Grad.", "Am 3. Mai wird es wärmer."]),
        ("Dr. Maier kommt z. B. um 8 Uhr. Gut!", ["Dr. Maier kommt z. B. um 8 Uhr.", "Gut!"]),
        ("She said “Yes.” Then she left.", ["She said “Yes.”", "Then she left."]),
        ("¿Qué hora es? Son las tres…  ¡Ya!", ["¿Qué hora es?", "Son las tres…", "¡Ya!"]),
        ("こんにちは。今日は晴れです。", ["こんにちは。", "今日は晴れです。"]),
        ("One\nTwo", ["One", "Two"]),
        ("...", []),
        ("", []),
        ("no end", ["no end"]),
    ],
)
def test_texts_are_split_into_sentences(text: str, sentences: list[str]) -> None:
    assert cut(text) == sentences
    assert cut(*text) == sentences


def test_a_sentence_is_ready_as_soon_as_the_next_begins() -> None:
    cutter = SentenceCutter()
    assert cutter.feed("The light is on.") == []
    assert cutter.feed(" A") == ["The light is on."]


TEXTS = st.text(alphabet='ab .!?。\n"”3…', max_size=200)


@given(TEXTS, st.lists(st.integers(0, 200), max_size=5))
def test_cutting_anywhere_changes_nothing(text: str, at: list[int]) -> None:
    cuts = sorted({0, len(text), *(place for place in at if place < len(text))})
    assert cut(*(text[a:b] for a, b in itertools.pairwise(cuts))) == cut(text)


@given(TEXTS)
def test_no_word_is_lost(text: str) -> None:
    kept = "".join(character for character in "".join(cut(text)) if character.isalnum())
    assert kept == "".join(character for character in text if character.isalnum())


def test_a_text_without_an_end_is_spoken_in_parts() -> None:
    found = cut("word " * 2000)
    assert "".join(found).replace(" ", "") == "word" * 2000
    assert all(len(part) <= LONGEST for part in found)
    assert all(part.startswith("word") and part.endswith("word") for part in found)
    assert parts("x" * (2 * LONGEST + 5)) == ["x" * LONGEST, "x" * LONGEST, "xxxxx"]


@pytest.mark.parametrize("text", ["." * 90_000, '."' * 45_000, "a" * 90_000, "\n" * 90_000, "1. " * 30_000])
def test_unusual_texts_take_linear_time(text: str) -> None:
    def seconds(given: str) -> float:
        begin = time.process_time()
        cut(given)
        return time.process_time() - begin

    seconds(text[:1000])
    assert seconds(text) < 1  # quadratic: minutes
