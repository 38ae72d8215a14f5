"""The cheap look before the search: it may be wrong in one direction only."""

import re

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.transforms.redaction.finder import Finder
from openai_proxy.transforms.redaction.hint import SHORTEST_SHAPE
from openai_proxy.transforms.redaction.shapes import AWS, PATTERNS

SECRETS = ("sk-house-0123456789abcdef", "pässwort mit leerzeichen", "short-one-123", 'quote"and\\slash-0123')
FINDER = Finder(SECRETS)

words = st.text(alphabet='abc "\\{}:,0123456789_-.%/=+', max_size=60)


@given(before=words, after=words, secret=st.sampled_from(SECRETS))
def test_no_secret_slips_under_the_hint(before: str, after: str, secret: str) -> None:
    data = f"{before}{secret}{after}".encode()
    assert not FINDER.quiet(data)


@given(st.binary(max_size=200))
def test_quiet_means_that_the_whole_search_finds_nothing(data: bytes) -> None:
    if FINDER.quiet(data):
        assert not FINDER.suspects(data)


@given(st.sampled_from(PATTERNS).flatmap(lambda pattern: st.from_regex(re.compile(pattern), fullmatch=True)))
def test_no_shape_is_shorter_than_the_hint_believes(key: bytes) -> None:
    assert len(key) >= SHORTEST_SHAPE or re.match(AWS, key)
    assert not Finder(()).quiet(b'{"content": "' + key + b'"}')
