"""Work in small steps gives the result of a single step and lets others run in between."""

import base64
import binascii
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy import steps
from openai_proxy.agent.conversations import digests_of
from openai_proxy.agent.fingerprint import ConversationFingerprint
from openai_proxy.dialects import json_text, media
from openai_proxy.dialects.chat.conversation_id import comparable, short
from openai_proxy.dialects.foreign_thoughts import hinted
from openai_proxy.dialects.gemini.contents import standard
from openai_proxy.dialects.media import data_url, text_of, url_of
from openai_proxy.prompt.assembly import assemble
from openai_proxy.protocols.json_members import check_unique, edit
from openai_proxy.records.writing.request_contents import without_blobs
from openai_proxy.records.writing.textjson import line
from openai_proxy.transforms.commands.cleaning import clean
from openai_proxy.transforms.commands.mark import CommandMark
from openai_proxy.transforms.flat import undone
from openai_proxy.transforms.redaction.body import redact
from openai_proxy.transforms.redaction.finder import SecretFinder
from openai_proxy.transforms.redaction.redactor import Redactor
from openai_proxy.transforms.splicing import splice

TEXTS = st.text(st.sampled_from("ab` >\n~éß😀\ud83d"), max_size=60)


@pytest.fixture(autouse=True)
def short_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.function is not test_others_run_in_between:
        monkeypatch.setattr(steps, "STEP", 7)


@given(TEXTS, TEXTS.map(lambda text: text[:3]), st.integers(0, 8))
def test_steps_give_the_result_of_a_single_step(text: str, part: str, start: int) -> None:
    assert "".join(steps.pieces(text, start)) == text[start:]
    assert steps.join(steps.pieces(text, step=3)) == text
    assert steps.encode(text) == text.encode("utf-8", "surrogatepass")
    assert steps.decode(steps.encode(text)) == text
    assert steps.blank(text, start) is (not text[start:].strip())
    assert steps.strip(text) == text.strip()
    assert steps.part(text, start, start + 9) == text[start : start + 9]
    data = steps.encode(text)
    assert steps.part(data, start, start + 9) == data[start : start + 9]
    whole, added = blake2b(data), blake2b()
    steps.add_text(added, text)
    assert added.digest() == whole.digest()
    if part and start < len(text):
        assert steps.find(text, part, start) == text.find(part, start)
        assert steps.find(text, part, start, start + 9) == text.find(part, start, start + 9)


@given(st.lists(st.text(max_size=20)), st.sampled_from(["", "-", "😀"]))
def test_a_text_joined_in_steps_is_an_ordinary_string(texts: list[str], between: str) -> None:
    """A string stored in wider characters than it needs would not be equal to any other."""
    joined, expected = steps.join(iter(texts), between), between.join(texts)
    assert (joined, hash(joined)) == (expected, hash(expected))
    assert joined.__sizeof__() == "".join([expected[:1], expected[1:]]).__sizeof__()


@given(TEXTS)
def test_matches_across_two_steps_are_found(text: str) -> None:
    pattern = re.compile("a{1,3}")
    assert [m.span() for m in steps.finditer(pattern, text, 0, len(text), 3)] == [
        m.span() for m in pattern.finditer(text)
    ]
    data = steps.encode(text)
    assert steps.any_piece(lambda piece: b"ab" in piece, data, 1) is (b"ab" in data)


@given(st.text(max_size=40), st.text("ab%41=é\ud83d", max_size=40))
def test_media_is_decoded_as_in_a_single_step(text: str, escaped: str) -> None:
    data = base64.b64encode(text.encode("utf-8", "replace")).decode()
    assert text_of(data) == text.encode("utf-8", "replace").decode()
    expected = base64.b64encode(unquote_to_bytes(escaped.encode("utf-8", "surrogatepass"))).decode()
    assert data_url(f"data:,{escaped}") == ("text/plain", expected)


@given(st.text("QUJD=é/", max_size=24))
def test_what_is_not_base64_is_refused_as_in_a_single_step(data: str) -> None:
    try:
        expected = base64.b64decode(data, validate=True).decode()
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
            text_of(data)
    else:
        assert text_of(data) == expected


def test_media_is_decoded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    expected = base64.b64encode(b"A" + b"BC" * 10).decode()

    def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda data, **options: (sizes.append(len(data)), function(data, **options))[1]

    for name in ("a2b_base64", "b2a_base64"):
        monkeypatch.setattr(media.binascii, name, recorded(getattr(binascii, name)))
    assert text_of("QUJD" * 10) == "ABC" * 10
    assert data_url("data:,%41" + "BC" * 10) == ("text/plain", expected)
    assert max(sizes) <= steps.STEP + 2
    assert len(sizes) > 10


MANY = 24 << 20
"""Bytes: one second of work in twenty steps."""


def body(text: str) -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % text.encode()


LARGE: dict[str, Callable[[], Callable[[], Any]]] = {
    "is there a command": lambda: _call(CommandMark("!/", enabled=True).in_body, b"word " * (MANY // 5)),
    "is the caller's key there": lambda: _call(Redactor.without_own, b"word " * (MANY // 5), {}, "sk-own-0123456789"),
    "duplicate names": lambda: _call(check_unique, body("word " * (MANY // 5))),
    "a member is set": lambda: _call(edit, body("word " * (MANY // 5)), {"model": b'"n"'}),
    "pictures left out of a record": lambda: _call(without_blobs, b"word " * (MANY // 5)),
    "a message's mark": lambda: _call(lambda text: short(comparable(text)), "word " * (MANY // 5)),
    "a text put together": lambda: _call(steps.join, ["word " * 1000] * (MANY // 5000)),
    "a text put together that ends in an emoji": lambda: _call(steps.join, ["x" * MANY, "😀"]),
    "a part of a text": lambda: _call(steps.part, "word " * (MANY // 5), 1, MANY // 5 * 5),
    "a part of a body": lambda: _call(steps.part, b"word " * (MANY // 5), 1, MANY // 5 * 5),
    "outer space": lambda: _call(steps.strip, " " + "word " * (MANY // 5)),
    "what was said": lambda: _call(digests_of, [{"role": "user", "content": "word " * (MANY // 5)}]),
    "a conversation's fingerprint": lambda: _call(
        ConversationFingerprint().add, {"role": "user", "content": "word " * (MANY // 5)}
    ),
    "a key taken out": lambda: _call(
        redact, body("my key is sk-proj-" + "aB3" * 16 + " word" * (MANY // 5)), {}, SecretFinder(())
    ),
    "escapes undone": lambda: _call(undone, b"100 % of it " * (MANY // 12)),
    "a line of the log": lambda: _call(partial(line, large=True), {"messages": [{"content": "word " * 1000}] * 5000}),
    "a picture's URL": lambda: _call(url_of, "image/png", "QUJD" * (MANY // 4)),
    "a picture in another alphabet": lambda: _call(standard, "-_JD" * (MANY // 4) + "-"),
    "a system message": lambda: _call(
        partial(assemble, ours="You keep the house."), [{"role": "system", "content": "word " * (MANY // 5)}]
    ),
    "another maker's thoughts": lambda: _call(hinted, b"word " * (MANY // 5), "messages"),
    "commands taken out": lambda: _call(
        lambda document: clean("/chat/completions", document, "!/", {"hello"}),
        {"messages": [{"role": "user", "content": "word `" * (MANY // 12) + " !/hello " + "word " * (MANY // 10)}]},
    ),
    "a text changed": lambda: _call(
        lambda data: splice(data, {("messages", 0, "content"): b'"x"'}), body("\\n" * (MANY // 2))
    ),
    "a string read": lambda: partial(json_text.loads, b'"%b"' % (b"\\n" * (MANY // 2)), large=True),
    "a string written": lambda: partial(json_text.dumps, "\n" * (MANY // 2), large=True),
}


def _call(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: function(*arguments)


@pytest.mark.parametrize("name", LARGE)
def test_others_run_in_between(name: str) -> None:
    """Another thread that always wants the interpreter gets it in the middle of the work."""
    work = LARGE[name]()
    turns = 0
    over = threading.Event()

    def ask() -> None:
        nonlocal turns
        while not over.is_set():
            turns += 1
            time.sleep(0)

    other = threading.Thread(target=ask)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    other.start()
    try:
        found = 0
        for _ in range(20):  # on a busy machine it may not be scheduled in time
            begun = turns
            work()
            found = max(found, turns - begun)
            if found > 5:
                break
    finally:
        over.set()
        sys.setswitchinterval(before)
        other.join(30)
    assert found > 5, "the work kept the interpreter lock to its end"


def test_a_text_cut_within_a_character_is_whole() -> None:
    text = "x" * steps.STEP + "é😀" * 3
    assert steps.decode(steps.encode(text)) == text
    assert json.loads(json_text.dumps(text)) == text
