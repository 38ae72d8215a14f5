"""Shortcuts in redaction must not change the result: each is compared with the long way."""

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openai_proxy.protocols.json_members import STRING
from openai_proxy.secrets import MARK
from openai_proxy.transforms import flat
from openai_proxy.transforms.flat import flatten, mapped, undone
from openai_proxy.transforms.redaction import body as body_module
from openai_proxy.transforms.redaction.body import redact, suspected
from openai_proxy.transforms.redaction.enclosing import enclosing
from openai_proxy.transforms.redaction.finder import HINTED, SecretFinder
from openai_proxy.transforms.redaction.forms import forms
from openai_proxy.transforms.redaction.parts import part_lists

PLAIN = ("sk-house-0123456789abcdef", "Zq7/pl+Tk9-w!x&U3mNvC5", "short-one-123", "hunter2")
ODD = ("pässwort mit leerzeichen", 'quote"and\\slash-0123', "line\nbreak-0123\x1b[0m", "😀-smile-99")
FINDERS = {
    "plain": SecretFinder(PLAIN),
    "odd": SecretFinder(PLAIN + ODD),
    "one own": SecretFinder(PLAIN[1:2], shapes=False),
}
SHAPES = ("sk-proj-9aB8cD7eF6gH5iJ4kL3m", "AKIAABCD1234ABCD1234", "eyJhbGciOiJIUzI1.eyJpc3MiOiIxMjM0In0.c2lnbmF0dXJl")
SEEDS = [*PLAIN, *ODD, *SHAPES, *(form.decode() for secret in (PLAIN[1], ODD[1]) for form in forms(secret))]
SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\r": "\\r"}


def written(text: str, choices: list[int]) -> str:
    """`text` as a JSON string, each character in one of JSON's notations, selected by `choices`."""
    pieces = []
    for index, character in enumerate(text):
        choice = choices[index % len(choices)] if choices else 0
        code = "".join(
            f"\\u{unit:04x}" for unit in memoryview(character.encode("utf-16-le", "surrogatepass")).cast("H")
        )
        must = character in '"\\' or character < " " or "\ud800" <= character <= "\udfff"
        if choice == 1 or (must and character not in SHORT):
            pieces.append(code)
        elif choice == 2:
            pieces.append(code.upper().replace("\\U", "\\u"))
        elif (must or choice == 3) and character in SHORT:
            pieces.append(SHORT[character])
        else:
            pieces.append(character)
    return '"' + "".join(pieces) + '"'


around = st.text(alphabet='ab -_.,:{}[]"\\/%u07né\n\t😀\ud800' + "sk", max_size=12) | st.sampled_from(
    [",", "", " ", "x" * 700 + " ", "y\\" * 300, "eyJ" + "a" * 600, '"' * 90, '",' * 70, "\n" * 40, "%2", "\\u00"]
)
seeds = st.sampled_from(SEEDS).flatmap(lambda seed: st.sampled_from([seed, seed[1:], seed[: len(seed) // 2], ""]))
texts = st.lists(around | seeds, max_size=5).map("".join)
escapes = st.lists(
    st.sampled_from(["%", "%4", "%41", "\\", "\\\\", "\\u0041", "\\u00", "\\/", "41", "word word word"]), max_size=40
).map("".join)


@given(escapes)
def test_escapes_are_undone_in_steps_as_in_one(text: str) -> None:
    data = text.encode()
    expected, places = undone(data), mapped(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat, "STEP", 9)
        assert undone(data) == expected
        assert (undone(data) is data) is (expected is data)
        again = mapped(data)
    assert (again is None) is (places is None)
    if places is not None and again is not None:
        assert again[0] == places[0] == expected
        assert [again[1][at] for at in range(len(expected) + 1)] == [places[1][at] for at in range(len(expected) + 1)]


choices = st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 3]), max_size=9) | st.just([])
strings = st.tuples(texts, choices).map(lambda pair: written(*pair))
spaces = st.sampled_from(["", "", " ", "\n  ", " " * 12])
values = st.recursive(
    strings | st.sampled_from(["1", "null", "123456.5"]),
    lambda inner: (
        st.tuples(spaces, st.lists(inner, max_size=4)).map(lambda t: "[" + t[0] + ("," + t[0]).join(t[1]) + t[0] + "]")
        | st.tuples(spaces, st.lists(st.tuples(strings, inner), max_size=3)).map(
            lambda t: "{" + ("," + t[0]).join(f"{name}{t[0]}:{t[0]}{value}" for name, value in t[1]) + t[0] + "}"
        )
    ),
    max_leaves=8,
)
bodies = values.map(lambda value: ('{"model": "hunter2", "messages":[' + value + "]}").encode())


def parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # half a surrogate pair
        return json.loads(body.decode())


def string_by_string(body: bytes, finder: SecretFinder) -> bytes:
    """Remove secrets from each decoded string of `body`: the long way."""

    def clean(match: re.Match[bytes]) -> bytes:
        if body[: match.start()].endswith(b'"model": '):
            return match[0]
        text = parsed(match[0]).encode("utf-8", "surrogatepass")
        new = finder.clean(text)
        return match[0] if new is text else json.dumps(new.decode("utf-8", "surrogatepass")).encode()

    return STRING.sub(clean, body)


@settings(max_examples=120)
@given(bodies, st.sampled_from(sorted(FINDERS)))
def test_one_search_finds_what_searching_every_string_finds(body: bytes, name: str) -> None:
    finder = FINDERS[name]
    document = parsed(body)
    clean = redact(body, document, finder)
    slow = string_by_string(body, finder)
    before, after, wanted = (list(STRING.findall(text)) for text in (body, clean, slow))
    assert STRING.sub(b"", clean) == STRING.sub(b"", body)
    assert [parsed(string) for string in after] == [parsed(string) for string in wanted]
    for old, new, want in zip(before, after, wanted, strict=True):
        assert new == old or want != old, "a string without a secret was rewritten"
    if slow == body:
        assert clean is body
    else:
        assert not finder.quiet(body)


@given(bodies)
def test_a_body_without_suspicion_is_not_changed(body: bytes) -> None:
    for finder in FINDERS.values():
        if finder.quiet(body) or not suspected(body, parsed(body), finder):
            assert redact(body, parsed(body), finder) is body


@example(b'{"a":",","b":[",",": ,",":","x\\"",",\\\\"],"c":",}", "d" : "" , "e" :[ "]" ,"]" ]}')
@example(b'{"a":"' + b'\\",' * 70 + b'","b":", ' + b'x\\"' * 70 + b'"}')
@given(bodies)
def test_the_string_around_a_place_is_found(body: bytes) -> None:
    tokens = [match.span() for match in STRING.finditer(body)]
    outside = 0
    for place in range(len(body)):
        expected = next(((start, end) for start, end in tokens if start < place < end), None)
        assert enclosing(body, 0, place) == expected
        assert enclosing(body, outside, place) == expected
        if expected is None:
            outside = place


@settings(max_examples=100)
@given(st.lists(texts, min_size=2, max_size=5), choices, st.integers(0, 3), st.sampled_from(sorted(FINDERS)))
def test_searching_the_seams_finds_what_searching_the_joined_parts_finds(
    pieces: list[str], ways: list[int], cut: int, name: str
) -> None:
    finder = FINDERS[name]
    pieces = [*pieces, (seam := SEEDS[cut])[: len(seam) // 2], seam[len(seam) // 2 :]]
    parts = ",".join(f'{{"type":"text","text":{written(piece, ways)}}}' for piece in pieces)
    body = ('{"messages":[{"role":"user","content":[' + parts + "]}]}").encode()
    document = parsed(body)
    clean = redact(body, document, finder)
    one_by_one = parsed(string_by_string(body, finder))
    [(_, wanted)] = part_lists(one_by_one)
    joined = finder.clean(b"".join(wanted))
    [(_, got)] = part_lists(parsed(clean))
    # Only what remains of a backslash before a mark depends on its part.
    assert b"".join(got).replace(b"\\", b"") == joined.replace(b"\\", b"")


def test_many_strings_with_escapes_are_searched_at_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(body_module, "MANY", 3)
    finder = FINDERS["plain"]
    clean = b'{"messages":[' + b",".join([b'"a\\/b"'] * 9) + b"]}"
    assert redact(clean, parsed(clean), finder) is clean
    late = clean[:-2] + b',"' + PLAIN[0].replace("s", "\\u0073").encode() + b'"]}'
    assert parsed(redact(late, parsed(late), finder))["messages"][-1] == MARK
    parts = [{"text": "a/b"}] * 9 + [{"text": PLAIN[0][:5]}, {"text": PLAIN[0][5:]}]
    body = json.dumps({"messages": [{"content": parts}]}).replace("a/b", "a\\/b").encode()
    assert [part["text"] for part in parsed(redact(body, parsed(body), finder))["messages"][0]["content"]] == [
        *["a/b"] * 9, MARK, "",
    ]  # fmt: skip


def test_a_key_that_begins_far_before_its_mark_is_removed_whole() -> None:
    token = "eyJ" + "a" * 3000 + "-hunter2-" + "a" * 9 + "\\u002eeyJ" + "b" * 12 + "." + "c" * 12 + "1"
    body = ('{"messages":[{"content":"' + "x " * 9 + token + '"}]}').encode()
    assert parsed(redact(body, parsed(body), FINDERS["plain"]))["messages"][0]["content"] == "x " * 9 + MARK


@pytest.mark.parametrize("cut", [6, 3003, 3004, 3010, 3025])
def test_a_long_key_split_over_long_parts_is_removed_whole(cut: int) -> None:
    token = "eyJ" + "a" * 3000 + ".eyJ" + "b" * 12 + "." + "c" * 12 + "1"
    parts = [{"text": "x " * 3000 + token[:cut]}, {"text": token[cut:] + " y" * 3000}]
    body = orjson.dumps({"messages": [{"content": parts}]})
    clean = parsed(redact(body, parsed(body), FINDERS["plain"]))
    assert [part["text"] for part in clean["messages"][0]["content"]] == ["x " * 3000 + MARK, " y" * 3000]


def test_text_far_before_a_secret_is_not_rewritten() -> None:
    before = "\\u00e9\\n\\t" * 2000 + "x " * 2000
    body = ('{"messages":[{"content":"' + before + PLAIN[0] + '\\u00e9"}]}').encode()
    assert (
        redact(body, parsed(body), FINDERS["plain"]) == ('{"messages":[{"content":"' + before + MARK + 'é"}]}').encode()
    )


ORDINARY = b"""{"model":"meta-llama/Llama-3.3-70B-Instruct","messages":[{"role":"user","content":"Turn on\\nthe light
at 2026-11-21T16:12:00, please. No risk-free-and-long-words, ask-me-anything-about-everything."}],"stream":true,
"stream_options":{"include_usage":true},"max_completion_tokens":99,"user":"3fa85f64-5717-4562-b3fc-2c963f66afa6"}"""


def test_ordinary_bodies_need_only_the_first_check() -> None:
    for finder in FINDERS.values():
        assert finder.look(ORDINARY.replace(b"\n", b" "))


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(SEEDS), st.integers(0, 3))
def test_the_first_check_misses_no_secret(before: bytes, after: bytes, seed: str, pad: int) -> None:
    data = before + b"word-word-word" * pad + seed.encode() + after
    assert len(data) <= HINTED
    for finder in FINDERS.values():
        if finder.first(data) is not None:
            assert not finder.look(data)


def test_too_many_or_too_short_secrets_are_left_to_the_search() -> None:
    finder = SecretFinder(f"pw-{number}!" for number in range(99))
    assert not finder.look(b"{}")
    assert finder.quiet(b"{}")
    assert not finder.quiet(b'{"a":"pw-77!"}')


escapes = st.lists(
    st.sampled_from(["\\", "\\\\", "/", "%", "%2", "5", "C", "u00", "73", "\\u0073", "%41", "x", "é"]), max_size=12
).map(lambda pieces: "".join(pieces).encode())


@given(escapes)
def test_escapes_are_decoded_as_by_the_plain_patterns(data: bytes) -> None:
    def character(match: re.Match[bytes]) -> bytes:
        code = next((group for group in match.groups() if group), None)
        return b"" if code is None else bytes((int(code, 16),))

    flat = re.sub(rb"\\+/", b"/", data)
    flat = re.sub(rb"\\+u00([2-7][0-9a-fA-F])", character, flat)
    assert flatten(data) == re.sub(rb"%([2-7][0-9a-fA-F])", character, flat)
    pattern = rb"\\+u00([2-7][0-9a-fA-F])|%([2-7][0-9a-fA-F])|\\+(?=/)"
    once = re.sub(pattern, character, data)
    assert undone(data) == once
    view = mapped(data)
    if view is None:
        assert once == data
        return
    assert view[0] == once
    starts = []
    position = 0
    for match in re.finditer(pattern, data):
        starts += range(position, match.start())
        if match[1] or match[2]:
            starts.append(match.start())
        position = match.end()
    assert [view[1][index] for index in range(len(once) + 1)] == [*starts, *range(position, len(data) + 1)]


def test_long_runs_of_backslashes_are_quick() -> None:
    """Starting a match at each backslash would take an hour for a megabyte and exceed the test's time limit."""
    data = b"\\" * 1_000_000 + b" \\/ \\u0041"
    assert flatten(data).endswith(b" / A")
    assert undone(data) == flatten(data)
    body = b'{"a":"' + data + PLAIN[0].encode() + b'"}'
    assert redact(body, {}, FINDERS["plain"]).endswith(MARK.encode() + b'"}')
