"""conf/proxy.yaml: defaults, shorthands, normal forms."""

import pytest

from openai_proxy.config.problems import ConfigError
from openai_proxy.config.proxy import RouteRule
from openai_proxy.secrets import vault
from tests.config.conftest import ConfigDirectory


def test_nothing_configured_offers_only_echo(config_directory: ConfigDirectory) -> None:
    proxy = config_directory.load().proxy
    assert {name: c.api_type for name, c in proxy.connections.items()} == {"echo": "echo"}
    assert proxy.default_connection == "echo"
    assert (proxy.host, proxy.port) == ("0.0.0.0", 8000)


def test_a_broken_connection_is_never_hidden_by_echo(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "connections:\n  a: {api_key: '${NOT_SET}'}\n")
    snapshot = config_directory.load()
    assert snapshot.proxy.connections == {}
    assert [str(p).split("conf/")[1] for p in snapshot.problems] == [
        "proxy.yaml:2:16: the environment variable NOT_SET is not set, so connections.a is left out"
    ]


def test_a_connection_is_completed(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "proxy.yaml",
        "connections:\n"
        "  a: {api_type: open_ai, api_base: 'http://box:8080/', api_key: ' k-1\n\n  ', timeout: 7}\n"
        "  b: {api_type: google_ai_studio, api_keys: [x1, x2]}\n",
    )
    connections = config_directory.load().proxy.connections
    a, b = connections["a"], connections["b"]
    assert (a.api_type, a.api_base, a.api_keys, a.api_key) == ("openai", "http://box:8080/v1", ("k-1",), None)
    assert (a.timeout.connect, a.timeout.first_byte, a.timeout.idle, a.timeout.total) == (10, 7, 7, None)
    assert (b.api_type, b.api_base) == ("google", "https://generativelanguage.googleapis.com/v1beta/openai")
    assert b.api_keys == ("x1", "x2")


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("a.*", RouteRule(("a.*",))),
        ("[a.x/y.z, b.*]", RouteRule(("a.x/y.z", "b.*"))),
        ("{targets: b.*, policy: round_robin}", RouteRule(("b.*",), "round_robin")),
        ("[{target: a.*, first_byte: 4}, b.*]", RouteRule(("a.*", "b.*"), patience=(4, None))),
        ("{targets: {target: a.*, first_byte: '1.5'}}", RouteRule(("a.*",), patience=(1.5,))),
        ("[{target: a.*}, b.*]", RouteRule(("a.*", "b.*"))),
    ],
)
def test_a_route_has_three_forms(config_directory: ConfigDirectory, written: str, rule: RouteRule) -> None:
    config_directory.write(
        "proxy.yaml", f"connections: {{a: {{api_key: k}}, b: {{api_key: k}}}}\nrouting:\n  gpt*: {written}\n"
    )
    assert config_directory.load().proxy.routing == {"gpt*": rule}


def test_an_unknown_key_is_reported_with_its_place_and_the_nearest_valid_one(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "connections:\n  a:\n    api_bsae: http://x\nprot: 1\n")
    with pytest.raises(ConfigError) as error:
        config_directory.load()
    assert [(p.line, p.column, p.message) for p in error.value.problems] == [
        (3, 5, 'unknown key "api_bsae" in connections.a (did you mean "api_base"?)'),
        (4, 1, 'unknown key "prot" (did you mean "port"?)'),
    ]


VOICE_WRONG = [
    ("connections:\n  a: {wake: {mac: 'aa:bb:cc'}}", '2:19: connections.a.wake.mac: "aa:bb:cc" is not a MAC address'),
    ("connections:\n  a: {wake: {wait: 3}}", '2:13: "mac" is missing'),
    (
        "connections:\n  a: {wake: {mac: 'aabbccddeeff', broadcast: everyone}}",
        '2:46: connections.a.wake.broadcast: "everyone" is not an IPv4 address',
    ),
    ("connections:\n  a: {concurrency: 0}", "2:20: connections.a.concurrency: must be at least 1"),
    ("groups:\n  g: {priority: urgent}", "2:17: groups.g.priority: expected high, normal or low"),
    ("routing:\n  x: [{target: a.b, first_bite: 3}]", '2:6: routing.x: unknown key "first_bite"'),
    ("routing:\n  x: [{target: a.b, first_byte: 0}]", "2:6: routing.x: first_byte: expected a number"),
    ("routing:\n  x: [{first_byte: 3}]", "2:6: routing.x: a target written as a mapping needs target"),
]


@pytest.mark.parametrize(("text", "words"), VOICE_WRONG, ids=[row[0] for row in VOICE_WRONG])
def test_mistakes_in_timeouts_are_reported_at_their_place(
    config_directory: ConfigDirectory, text: str, words: str
) -> None:
    config_directory.write("proxy.yaml", text + "\n")
    with pytest.raises(ConfigError) as error:
        config_directory.load()
    [problem] = error.value.problems
    assert str(problem).partition("proxy.yaml:")[2].startswith(words)


def test_a_mac_address_may_be_written_in_three_ways(config_directory: ConfigDirectory) -> None:
    for written in ("AA-BB-CC-00-11-2f", "aabbcc00112F", "'aa:bb:cc:00:11:2f'"):
        config_directory.write("proxy.yaml", f"connections:\n  a: {{wake: {{mac: {written}}}}}\n")
        wake = config_directory.load().proxy.connections["a"].wake
        assert wake is not None
        assert (wake.mac, wake.broadcast, wake.port, wake.wait) == ("aa:bb:cc:00:11:2f", "255.255.255.255", 9, 120)


def test_the_credential_in_a_header_is_a_secret_of_its_own(config_directory: ConfigDirectory) -> None:
    headers = "{Authorization: Bearer cred-of-header-1, X-Api-Key: key-of-header-1, X-Title: title-of-header-1}"
    config_directory.write("proxy.yaml", f"connections:\n  a: {{api_type: openai, headers: {headers}}}\n")
    config_directory.load()
    assert {"cred-of-header-1", "Bearer cred-of-header-1", "key-of-header-1"} <= vault.known()
    assert "title-of-header-1" not in vault.known()
