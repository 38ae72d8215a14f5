"""The speech filter: what it removes, what it leaves, and that cutting its input changes nothing."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.transforms.speech import SpeechFilter, speakable
from tests.transforms.speech.answers import ANSWERS, SPEAKABLE

PAIRS = [pytest.param(*pair, id=f"{language}-{number}") for language, pairs in ANSWERS.items()
         for number, pair in enumerate(pairs)]  # fmt: skip


def in_pieces(pieces: list[str]) -> str:
    heard = SpeechFilter()
    return "".join([*map(heard.feed, pieces), heard.end()])


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(("answer", "heard"), PAIRS)
def test_an_answer_is_spoken_without_its_markup(answer: str, heard: str) -> None:
    assert speakable(answer) == heard
    assert in_pieces(list(answer)) == heard
    assert speakable(heard) == heard


@pytest.mark.parametrize("text", SPEAKABLE)
def test_speakable_text_is_unchanged(text: str) -> None:
    assert speakable(text) == text
    assert in_pieces(list(text)) == text


@pytest.mark.parametrize(("answer", "heard"), PAIRS)
def test_a_cut_at_every_place_changes_nothing(answer: str, heard: str) -> None:
    for place in range(len(answer)):
        assert in_pieces([answer[:place], answer[place:]]) == heard


MARKS = (
    "* ** _ __ ` ``` ~ ~~~ [ ] ( ) ]( < > | # - + 1. 2) 12 a Wort x_1 https:// h ht "
    "tps://a.b :// : 😀 👍🏽 \u200d ️ 1️⃣ \\ ! ![ [1] [^1] . , 。 这 【4:0†s】 【 <b> </b> <br> "
    '</think> --- === |---| " é & = [x]: ).'
)
SPACES = [" ", "  ", "\n", "\n\n", " | ", "# ", "- ", "* ", "> ", "- [ ] ", "| a | b |\n", "It is so! ", "the end. "]
FRAGMENTS = st.sampled_from([*MARKS.split(" "), *SPACES])


@given(st.lists(FRAGMENTS, max_size=16).map("".join), st.lists(st.integers(0, 200), max_size=8))
def test_random_cuts_change_nothing(text: str, places: list[int]) -> None:
    whole = speakable(text)
    assert in_pieces(cut(text, places)) == whole
    assert in_pieces(list(text)) == whole


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_cuts_change_nothing_in_any_text(text: str, places: list[int]) -> None:
    assert in_pieces(cut(text, places)) == speakable(text)


PHRASE = "the light Küche is 21 °C off, été 5/6 x_1 light.kitchen maybe. so! привет 你好 a-b (now) 10:30"
WORDS = st.sampled_from(PHRASE.split(" "))
PLAIN = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
SPANS = st.one_of(
    PLAIN,
    PLAIN.map("**{}**".format),
    PLAIN.map("*{}*".format),
    PLAIN.map("`{}`".format),
    PLAIN.map("[{}](https://x.example/a_b?c=(d))".format),
    st.sampled_from(["😀", "👩‍🍳", "[1]", "[2, 3]", "https://x.example/path.", "<b>x</b>", "~~y~~"]),
)
LINES = st.one_of(
    SPANS,
    st.lists(SPANS, min_size=1, max_size=4).map(" ".join),
    PLAIN.map("## {}".format),
    PLAIN.map("- {}".format),
    PLAIN.map("* {}".format),
    PLAIN.filter(lambda text: not text[0].isdigit()).map("> {}".format),  # "> 21" is a comparison, not a quotation
    PLAIN.map("| {} | b |".format),
    st.sampled_from(["", "---", "|---|---|", "```python\nx = **1**\n```", "***"]),
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_no_markup_is_spoken_and_filtering_twice_changes_nothing(answer: str) -> None:
    heard = speakable(answer)
    assert not re.search(r"\*\*|`|https?:|~~|^#+ |^[-*] |^> |\||😀|👩|\[\d|<b>|\]\(", heard, re.MULTILINE), heard
    assert speakable(heard) == heard


@pytest.mark.parametrize(("text", "heard"), [
    ("word😀word", "word word"),
    ("Done!🎉Next", "Done! Next"),
    ("你好😀世界", "你好世界"),
    ("😀 Hi", "Hi"),
    ("Hi 😀\nyou", "Hi\nyou"),
    ("one\n😀\ntwo", "one\ntwo"),
    ("one\n\n***\n\ntwo", "one\n\ntwo"),
    ("See [1](https://a.example).", "See."),
    ("![The yard](cam.jpg) is empty", "The yard is empty"),
    ("[Read more. And on](https://a.example/x) now", "[Read more. And on now"),
    ("[name][ref] is\n[ref]: <https://a.example>\nhere", "name is\nhere"),
    ("Write to <mailto:me@a.example>", "Write to me@a.example"),
    ("It (https://a.example) is", "It is"),
    ("a homeassistant://navigate/x b", "a homeassistant b"),
    ("2 \\* 3 and \\_x", "2 * 3 and _x"),
    ("Die *2*3*-Regel", "Die 2*3-Regel"),
    ("Tom &amp; Jerry&nbsp;&lt;3, AT&T, R&D & &amp", "Tom & Jerry <3, AT&T, R&D & &amp"),
    ("Das ist ** wichtig ** und **sehr ** heiß.", "Das ist wichtig und sehr heiß."),
    ("** Achtung: ** 2 ** 3 = 8, (a + b) ** 2 *** und ~~ alt ~~ neu", "Achtung: 2 ** 3 = 8, (a + b) ** 2 und alt neu"),
    ("Wohnzimmer**licht** an, 5**kg**, x**2**3, a**b", "Wohnzimmerlicht an, 5kg, x**2**3, a**b"),
    ("living**room**", "livingroom"),
    ("~~~\ncode\n~~~\nEnd", "End"),
    ("```\nnever closed\nmore", ""),
    ("````\n```\n````\nEnd", "End"),
    ("- \n- a", "a."),
    ("-", "-"),
    ("---", ""),
    ("#", ""),
    ("", ""),
    ("|x| = 5", "|x| = 5"),
    ("Cited \ue200cite\ue202turn0search1\ue201.", "Cited."),
])  # fmt: skip
def test_spoken_forms(text: str, heard: str) -> None:
    assert speakable(text) == heard
    assert in_pieces(list(text)) == heard


@pytest.mark.parametrize("sentence", [
    "The light is **on** and [the door](https://a.example) is _open_ now.",
    "An _open mark of a longer sentence is let go at its end!",
    "A [bracket without an end is let go, too.",
    "Half a tag <a and nothing else.",
    "[0, 1) is an interval.",
    "これは_テスト。",
])  # fmt: skip
def test_text_is_held_no_longer_than_its_sentence(sentence: str) -> None:
    heard = SpeechFilter()
    said = "".join(map(heard.feed, sentence + " And"))
    assert "And" in said


def test_words_are_passed_on_as_they_come() -> None:
    heard = SpeechFilter()
    assert [heard.feed(piece) for piece in ("It", " is", " 21", ".", "5", " °C", ",", " so")] == [
        "It", " is", " 21", ".", "5", " °C", ",", " so",
    ]  # fmt: skip


def test_a_long_address_is_not_kept() -> None:
    heard = SpeechFilter()
    heard.feed("See https://a.example/")
    for _ in range(2000):
        assert heard.feed("abc/def?g=h&") == ""
    assert heard.feed(" now") + heard.end() == " now"
    heard = SpeechFilter()
    assert heard.feed("![x](data:image/png;base64,") == "x"
    for _ in range(2000):
        assert heard.feed("iVBORw0KGgo") == ""
    assert heard.feed(") ok") + heard.end() == " ok"
