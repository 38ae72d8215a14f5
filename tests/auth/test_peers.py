"""Local addresses and Host names."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from openai_proxy.auth.peers import (
    UNKNOWN,
    host_name,
    host_rule,
    is_local_name,
    is_loopback,
    is_loopback_name,
    is_private,
    networks,
    remote_address,
)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("127.255.0.9", True), ("::1", True), ("10.1.2.3", True), ("172.16.0.1", True),
        ("172.31.255.255", True), ("172.32.0.0", False), ("192.168.1.1", True), ("192.169.0.1", False),
        ("100.64.0.1", True), ("100.127.255.255", True), ("100.128.0.0", False), ("fe80::1%eth0", True),
        ("fd00::1", True), ("2001:db8::1", False), ("::ffff:192.168.0.7", True), ("::ffff:8.8.8.8", False),
        ("8.8.8.8", False), ("169.254.169.254", False), ("0.0.0.0", False), ("::", False), ("", False),
        ("localhost", False), ("10.1", False),
    ],
)  # fmt: skip
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) is private


@given(st.ip_addresses(v=4))
def test_an_ipv4_mapped_address_counts_like_its_ipv4_form(address: object) -> None:
    assert is_private(str(address)) == is_private(f"::ffff:{address}")
    assert is_loopback(str(address)) == is_loopback(f"::ffff:{address}")
    if is_private(str(address)):
        assert not ip_address(str(address)).is_global


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Example.COM", "example.com"), ("pi.local:8000", "pi.local"), ("pi.local.", "pi.local"), ("pi:65535", "pi"),
        ("[::1]:80", "::1"), ("[FE80::1]", "fe80::1"), ("192.168.1.2:1", "192.168.1.2"), ("a_b", "a_b"),
    ],
)  # fmt: skip
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    "host",
    [
        "", ".", ":80", "pi:", "pi:65536", "pi:-1", "pi:80:80", "user@pi", "pi/x", "pi x", "pi\n", " pi", "pi,evil",
        "::1", "[::1", "[pi]", "[::g]", "p\u00ed", "pi?x", "pi#x", "pi\\x",
    ],
)  # fmt: skip
def test_a_malformed_host_has_no_name(host: str) -> None:
    assert host_name(host) is None


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("homeassistant", True), ("pi.local", True), ("nas.lan", True), ("a.home.arpa", True), ("x.internal", True),
        ("app.localhost", True), ("8.8.8.8", True), ("::1", True), ("fe80::1%eth0", True), ("example.com", False),
        ("local.example", False), ("pi.local.example.com", False), ("127.1", False), ("2130706433", False),
        ("evillocal.com", False), ("127.0.0.1.nip.io", False), ("home.arpa.example", False),
    ],
)  # fmt: skip
def test_names_unknown_to_public_dns(name: str, ours: bool) -> None:
    assert is_local_name(name) is ours


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("pi", False),
        ("10.0.0.1", False),
    ],
)
def test_names_of_this_machine(name: str, ours: bool) -> None:
    assert is_loopback_name("localhost")
    assert is_loopback_name(name) is ours


def test_allowed_hosts() -> None:
    assert host_rule("auto")("pi.local")
    assert not host_rule("auto")("example.com")
    only = host_rule(["LLM.example.com", "*.house.example"])
    assert only("llm.example.com")
    assert only("a.house.example")
    assert not only("house.example")
    assert not only("pi.local"), "a list of hosts replaces the default rule"
    assert host_rule("llm.example.com")("llm.example.com")
    assert host_rule(["*"])("anything")


TRUSTED = networks(["10.0.0.0/8", "192.168.1.7", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "remote"),
    [
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),  # an untrusted peer's header is ignored
        ("192.168.1.8", "1.1.1.1", "192.168.1.8"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),  # addresses further left may be invented by the caller
        ("10.0.0.1", "6.6.6.6, 1.1.1.1 ,10.0.0.2", "1.1.1.1"),
        ("fd00::1", "2001:db8::5, 192.168.1.7", "2001:db8::5"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        # An unreadable address counts as unknown, since it must not make a caller pass for our proxy.
        ("10.0.0.1", "1.1.1.1, unknown", UNKNOWN),
        ("10.0.0.1", "8.8.8.8:1234", UNKNOWN),
        ("10.0.0.1", "8.8.8.8,", UNKNOWN),
        ("10.0.0.1", "[2001:db8::1]", UNKNOWN),
        ("10.0.0.1", "1.1.1.1, , 10.0.0.2", UNKNOWN),
        ("10.0.0.1", "unknown, 1.1.1.1", "1.1.1.1"),  # an unreadable address further left does not matter
    ],
)
def test_the_address_of_a_forwarded_request(peer: str, forwarded: str, remote: str) -> None:
    assert remote_address(peer, {"X-Forwarded-For": forwarded}, TRUSTED) == remote
    assert remote_address(peer, {"X-Forwarded-For": forwarded}, ()) == peer
    assert remote_address(peer, {}, TRUSTED) == peer


@pytest.mark.parametrize(
    ("lines", "remote"),
    [
        ([("X-Forwarded-For", "192.168.1.9"), ("X-Forwarded-For", "8.8.8.8")], "8.8.8.8"),
        ([("X-Forwarded-For", "8.8.8.8"), ("X-Forwarded-For", "10.0.0.2")], "8.8.8.8"),
        ([("X-Forwarded-For", "192.168.1.9"), ("x-forwarded-for", "")], UNKNOWN),
        ([("X-Forwarded-For", "10.0.0.2"), ("X-Forwarded-For", "10.0.0.3")], "10.0.0.2"),
        ([("Forwarded", "for=8.8.8.8")], "8.8.8.8"),
        ([("Forwarded", "for=192.168.1.9"), ("Forwarded", "for=8.8.8.8;proto=http")], "8.8.8.8"),
        ([("Forwarded", 'proto=http; For="[2001:db8:cafe::17]:4711" ;by=10.0.0.1, for=10.0.0.2')], "2001:db8:cafe::17"),
        ([("Forwarded", "for=8.8.8.8:80")], UNKNOWN),  # a port needs quotes
        ([("Forwarded", 'for="8.8.8.8:80"')], "8.8.8.8"),
        ([("Forwarded", "for=unknown")], UNKNOWN),
        ([("Forwarded", "for=_hidden")], UNKNOWN),
        ([("Forwarded", "for=8.8.8.8,")], UNKNOWN),
        ([("Forwarded", "for=192.168.1.9, proto=https")], UNKNOWN),
        ([("Forwarded", "for=192.168.1.9;for=8.8.8.8")], UNKNOWN),
        ([("Forwarded", 'for="192.168.1.9')], UNKNOWN),
        ([("Forwarded", "192.168.1.9")], UNKNOWN),
        ([("X-Forwarded-For", "192.168.1.9"), ("Forwarded", "for=8.8.8.8")], "8.8.8.8"),
        ([("X-Forwarded-For", "8.8.8.8"), ("Forwarded", "for=192.168.1.9")], "8.8.8.8"),
        ([("X-Forwarded-For", "192.168.1.9"), ("Forwarded", "for=192.168.1.9")], "192.168.1.9"),
        ([("X-Forwarded-For", ""), ("X-Forwarded-For", " ")], "10.0.0.1"),
    ],
)
def test_all_lines_count_from_the_right(lines: list[tuple[str, str]], remote: str) -> None:
    assert remote_address("10.0.0.1", CIMultiDict(lines), TRUSTED) == remote
    assert not is_private(UNKNOWN)
    assert not is_loopback(UNKNOWN)


@given(st.text(st.sampled_from('for=;,"\\ .:[]18_a\t'), max_size=60))
def test_any_header_is_read_or_unreadable(value: str) -> None:
    for name in ("Forwarded", "X-Forwarded-For"):
        found = remote_address("10.0.0.1", {name: value}, TRUSTED)
        assert found == UNKNOWN or ip_address(found)


def test_a_network_may_be_given_by_one_of_its_hosts() -> None:
    assert [str(network) for network in networks(["10.1.2.3/8", "::1"])] == ["10.0.0.0/8", "::1/128"]
