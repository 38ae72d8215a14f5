"""Which header fields pass, and that no value can add a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.server.headers import clean, downstream_fields, lines, upstream_fields, wire_lines


@pytest.mark.parametrize(
    "name",
    [
        "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect",
        "Proxy-Authorization", "Proxy-Anything", "Cookie", "Authorization", "X-API-Key", "api-key", "Forwarded", "Via",
        "X-Forwarded-For", "X-Forwarded-Whatever", "X-Real-IP",
    ],
)  # fmt: skip
def test_fields_that_never_go_to_a_provider(name: str) -> None:
    for spelled in (name, name.lower(), name.upper()):
        fields = [(b"A", b"1"), (spelled.encode(), b"x"), (b"B", b"2")]
        assert upstream_fields(fields) == [(b"A", b"1"), (b"B", b"2")]


def test_all_other_fields_keep_order_case_and_number() -> None:
    fields = [(b"aCCept", b"*/*"), (b"X-Stainless-Lang", b"python"), (b"OpenAI-Beta", b"x"), (b"X", b"1"), (b"x", b"2")]
    assert upstream_fields(fields) == fields


def test_fields_named_by_connection_are_removed_in_both_directions() -> None:
    fields = [(b"X-Hop", b"1"), (b"Connection", b"close, x-HOP"), (b"X-End", b"2")]
    assert upstream_fields(fields) == [(b"X-End", b"2")]
    assert downstream_fields(fields) == [(b"X-End", b"2")]


@pytest.mark.parametrize(
    "name",
    [
        b"Set-Cookie", b"set-cookie2", b"Alt-Svc", b"Content-Length", b"Transfer-Encoding", b"Keep-Alive", b"Upgrade",
        b"Access-Control-Allow-Origin", b"access-control-expose-headers", b"Proxy-Authenticate",
    ],
)  # fmt: skip
def test_fields_that_never_go_to_a_client(name: bytes) -> None:
    assert downstream_fields([(name, b"x"), (b"Content-Type", b"t")]) == [(b"Content-Type", b"t")]


def test_many_different_names_are_judged_alike() -> None:
    fields = [(b"X-%d" % number, b"v") for number in range(6000)]
    assert upstream_fields([*fields, (b"Cookie", b"a")]) == fields
    assert upstream_fields([*fields, (b"cOOkie", b"a")]) == fields, (
        "a name beyond the limit of the cache must be judged the same"
    )


@given(st.text())
def test_a_cleaned_value_is_one_line(value: str) -> None:
    kept = clean(value)
    assert not any(ord(c) < 32 or ord(c) == 127 for c in kept)
    assert clean(kept) == kept
    written = lines([("X-A", value), ("X-B", "b")])
    assert written.count(b"\r\n") == 2
    assert written.count(b"\n") == 2
    assert written.endswith(b"\r\nX-B: b\r\n")


def test_our_own_lines_and_received_lines() -> None:
    assert lines([("A", "1"), ("B", "caf\xe9 \u20ac")]) == b"A: 1\r\nB: caf\xc3\xa9 \xe2\x82\xac\r\n"
    assert lines([("A", b"caf\xe9".decode("utf-8", "surrogateescape"))]) == b"A: caf\xe9\r\n"
    assert lines([("A", "half \ud800")]) == b"A: half ?\r\n"
    assert wire_lines([(b"a", b"\xff"), (b"B", b"")]) == b"a: \xff\r\nB: \r\n"
    assert wire_lines([]) == b""
