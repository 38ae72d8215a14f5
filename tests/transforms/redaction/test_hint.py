"""The cheap check before the search: it may be wrong in one direction only."""

import re

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.transforms.redaction.finder import SecretFinder
from openai_proxy.transforms.redaction.hint import LETTERS, SHORTEST_SHAPE, next_run
from openai_proxy.transforms.redaction.shapes import AWS, PATTERNS

SECRETS = ("sk-house-0123456789abcdef", "pässwort mit leerzeichen", "short-one-123", 'quote"and\\slash-0123')
FINDER = SecretFinder(SECRETS)

words = st.text(alphabet='abc "\\{}:,0123456789_-.%/=+', max_size=60)


@given(before=words, after=words, secret=st.sampled_from(SECRETS))
def test_the_hint_misses_no_secret(before: str, after: str, secret: str) -> None:
    data = f"{before}{secret}{after}".encode()
    assert not FINDER.quiet(data)


@given(st.binary(max_size=200))
def test_without_a_hint_the_search_finds_nothing(data: bytes) -> None:
    if FINDER.quiet(data):
        assert not FINDER.suspects(data)


@given(st.sampled_from(PATTERNS).flatmap(lambda pattern: st.from_regex(re.compile(pattern), fullmatch=True)))
def test_no_shape_is_shorter_than_the_hint_assumes(key: bytes) -> None:
    assert len(key) >= SHORTEST_SHAPE or re.match(AWS, key)
    assert not SecretFinder(()).quiet(b'{"content": "' + key + b'"}')


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=12).map(
        lambda runs: b"".join(b" " * gap + b"aZ9-." * 6 * (run > 25) + LETTERS[:run] for gap, run in runs)
    ),
    st.integers(1, 24),
)
def test_all_runs_are_found(data: bytes, length: int) -> None:
    mapped = bytes(0x61 if byte in LETTERS else 0x20 for byte in data)
    end, runs = 0, []
    while True:
        found = next_run(mapped, end, length)
        if found[0] < 0:
            break
        runs.append(found)
        end = found[1]
    assert runs == [match.span() for match in re.finditer(rb"[%b]{%d,}" % (re.escape(LETTERS), length), data)]


@given(st.text(alphabet="AIKS x", max_size=60), st.text(alphabet="AIKS x", max_size=60))
def test_an_aws_key_is_seen_among_similar_letters(before: str, after: str) -> None:
    assert not SecretFinder(()).quiet(f"{before} AKIAIOSFODNN7EXAMPLE {after}".encode())
