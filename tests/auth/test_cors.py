"""Which web pages may use the API."""

import pytest

from openai_proxy.auth.cors import OriginRule, is_own_page
from openai_proxy.auth.gate import Gate
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.errors import Forbidden

AUTO = OriginRule("auto", keys_required=False)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000", "http://127.0.0.1:8123", "https://192.168.1.5", "http://homeassistant.local:8123",
        "http://nas", "http://[::1]:80", "http://[fd00::1]", "https://x.lan", "http://100.64.1.1",
    ],
)  # fmt: skip
def test_local_pages_are_allowed(origin: str) -> None:
    assert AUTO.allows(origin, "pi:8000")


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com", "http://8.8.8.8", "http://[2001:db8::1]", "http://127.1", "http://2130706433", "null",
        "", "http://[", "http://[pi]", "http://[::1]evil", "file://", "chrome-extension://abc", "http://",
        "https://pi.local.example.com", "http://user@localhost", "http://localhost:99999", "//localhost",
        "http://local host", "moz-extension://x", "ftp://localhost",
    ],
)  # fmt: skip
def test_pages_on_the_internet_are_not_allowed(origin: str) -> None:
    assert not AUTO.allows(origin, "pi:8000")
    assert not AUTO.allows(origin, None)


def test_our_own_page_is_allowed_whatever_is_listed() -> None:
    listed = OriginRule(["https://ui.example"], keys_required=False)
    assert listed.allows("http://pi.local:8000", "PI.local:8000")
    assert not listed.allows("http://pi.local:8000", "pi.local:9000"), "a page on another port is foreign"
    assert not listed.allows("http://rebound.example:8000", "rebound.example:8000"), (
        "a page under an unlisted host name may come from DNS rebinding"
    )
    assert OriginRule(["http://rebound.example"], keys_required=False).allows(
        "http://rebound.example", "rebound.example"
    )


def test_a_list_of_origins_is_exhaustive() -> None:
    listed = OriginRule(["https://UI.example/", "http://other.example:81"], keys_required=True)
    assert listed.allows("https://ui.example", None)
    assert listed.allows("HTTPS://UI.EXAMPLE", None)
    assert listed.allows("http://other.example:81", None)
    for origin in ("http://ui.example", "https://ui.example:444", "http://localhost", "https://ui.example.evil.com"):
        assert not listed.allows(origin, None)


def test_with_keys_or_a_star_every_page_is_allowed() -> None:
    every = (
        OriginRule("auto", keys_required=True),
        OriginRule("*", keys_required=False),
        OriginRule(("*",), keys_required=False),
    )
    for rule in every:
        assert rule.allows("https://example.com", None)
        assert rule.allows("null", None)


@pytest.mark.parametrize("written", ["*", ["*"], ["https://ui.example", "*"]])
def test_a_star_in_the_file_allows_every_page(written: object) -> None:
    gate = Gate(ProxyConfig.model_validate({"cors": {"origins": written}}))
    assert gate.origins.allows("https://example.com", "pi:8000")


def test_pages_from_files_are_allowed_if_listed() -> None:
    assert OriginRule(["null"], keys_required=False).allows("null", None)
    assert not OriginRule(["https://ui.example"], keys_required=False).allows("null", None)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://8.8.8.8"])
@pytest.mark.parametrize("config", [{"groups": {"family": {"api_keys": ["sk-1"]}}}, {"cors": {"origins": "*"}}])
def test_a_foreign_page_that_may_use_the_api_cannot_use_the_admin_api(config: object, origin: str) -> None:
    gate = Gate(ProxyConfig.model_validate(config))
    local = {"Host": "localhost:8000"}
    assert gate.admit_admin("127.0.0.1", local, at_home=True).admin
    assert gate.admit_admin("127.0.0.1", {**local, "Origin": "http://localhost:8000"}, at_home=True).admin
    with pytest.raises(Forbidden):
        gate.admit_admin("127.0.0.1", {**local, "Origin": origin}, at_home=True)
    assert not gate.is_admin("127.0.0.1", {**local, "Origin": origin})


OWN = [
    {"Host": "pi:8000", "Origin": "http://pi:8000"},
    {"Host": "pi", "Origin": "http://pi"},
    {"Host": "PI:80", "Origin": "http://pi"},
    {"Host": "pi:443", "Origin": "https://pi"},
    {"Host": "172.30.33.2:8099", "X-Forwarded-Host": "home.example:8123", "Origin": "https://home.example:8123"},
    {"Host": "pi:8000"},
    {"Host": "pi:8000", "Sec-Fetch-Site": "same-origin"},
    {"Host": "pi:8000", "Sec-Fetch-Site": "none"},
]
FOREIGN = [
    {"Host": "pi:8000", "Origin": "http://pi:8001"},
    {"Host": "pi:8000", "Origin": "http://pi"},
    {"Host": "pi:8000", "Origin": "https://ui.example"},
    {"Host": "pi:8000", "Origin": "null"},
    {"Host": "", "Origin": "http://"},
    {"Host": "pi:8000", "Origin": "ftp://pi:8000"},
    {"Host": "pi:8000", "Sec-Fetch-Site": "cross-site"},
    {"Host": "pi:8000", "Sec-Fetch-Site": "same-site"},
    {"Host": "pi:8000", "X-Forwarded-Host": "", "Origin": "http://"},
]


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_the_page_itself_may_use_the_admin_api(headers: dict[str, str]) -> None:
    assert is_own_page(headers)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_on_other_ports_of_the_machine_are_foreign(headers: dict[str, str]) -> None:
    assert not is_own_page(headers)


def test_a_listed_page_cannot_use_the_admin_api() -> None:
    gate = Gate(ProxyConfig.model_validate({"cors": {"origins": ["https://ui.example"]}}))
    with pytest.raises(Forbidden):
        gate.admit_admin("127.0.0.1", {"Host": "localhost", "Origin": "https://ui.example"}, at_home=True)


def test_a_preflight_grants_the_requested_fields() -> None:
    fields = dict(OriginRule.preflight("http://nas", "x-one, x-two"))
    assert fields["Access-Control-Allow-Origin"] == "http://nas"
    assert fields["Access-Control-Allow-Headers"] == "x-one, x-two"
    assert "POST" in fields["Access-Control-Allow-Methods"]
    assert fields["Vary"] == "Origin", "without Vary, a cache could give one page's grant to another"
    assert "Access-Control-Allow-Credentials" not in fields
    assert "Authorization" in dict(OriginRule.preflight("http://nas", None))["Access-Control-Allow-Headers"]
    assert set(OriginRule.grant("http://nas")) <= set(OriginRule.preflight("http://nas", None))
