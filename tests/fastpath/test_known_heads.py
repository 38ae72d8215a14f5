"""A request head that was read once is recognised if it is identical byte for byte, and only then."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.auth.access import Access
from openai_proxy.endpoints import at
from openai_proxy.exchange import Caller
from openai_proxy.fastpath.known_heads import CachedHead, HeadCache, KnownHead

START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: "
BETWEEN = b"\r\nAuthorization: Bearer k\r\n\r\n"


def known() -> KnownHead:
    gate: Any = SimpleNamespace(admit=lambda peer, headers: Caller(peer))
    message: Any = SimpleNamespace(headers={"Host": "a"}, raw_headers=(), should_close=False)
    return KnownHead(gate, Access({}), "10.0.0.1", at("/chat/completions"), message)


HEAD = known()
KEPT = CachedHead(START, BETWEEN, HEAD)


@pytest.mark.parametrize("number", [b"1", b"7", b"85", b"524288", b"9999999"])
def test_the_content_length_may_change(number: bytes) -> None:
    data = START + number + BETWEEN + b"body"
    assert KEPT.body_of(data) == (len(data) - 4, int(number))


NUMBERS = [b"", b"0", b"007", b"+7", b"-7", b"7 ", b" 7", b"7_0", b"0x7", b"7\t", b"12345678", b"7\r\nX: y", b"\xb2"]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_unusual_number_is_left_to_the_parser(number: bytes) -> None:
    assert KEPT.body_of(START + number + BETWEEN + b"body") is None


@given(st.binary(max_size=8), st.integers(0, len(START) + 30), st.binary(max_size=3))
def test_bytes_that_differ_anywhere_are_another_head(number: bytes, at: int, other: bytes) -> None:
    data = START + number + BETWEEN
    data = data[:at] + other + data[at + len(other) :]
    plain = re.fullmatch(re.escape(START) + rb"([1-9][0-9]{0,6})" + re.escape(BETWEEN), data)
    found = KEPT.body_of(data)
    assert found == ((len(data), int(plain[1])) if plain else None)


def test_an_incomplete_head_is_not_recognised() -> None:
    whole = START + b"85" + BETWEEN
    assert [KEPT.body_of(whole[:end]) for end in range(len(whole))] == [None] * len(whole)


def test_a_head_is_cached_for_one_peer_only() -> None:
    book = HeadCache()
    data = START + b"85" + BETWEEN
    book.learn("10.0.0.1", data, data.index(b"\r\n\r\n"), HEAD)
    longer = data.replace(b"85", b"12345")
    assert cast(CachedHead, book.find("10.0.0.1", longer)).head is HEAD
    assert cast(CachedHead, book.find("10.0.0.1", longer)).body_of(longer) == (len(longer), 12345)
    assert book.find("10.0.0.2", data) is None
    assert book.find("10.0.0.1", data.replace(b"Bearer k", b"Bearer K")) is None
    assert book.find("10.0.0.1", data[:-1]) is None
