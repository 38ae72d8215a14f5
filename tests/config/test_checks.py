"""Checks across entries: dangling names, rules that never match, duplicates."""

from pathlib import Path

import pytest

from openai_proxy.config.problems import ConfigError
from openai_proxy.config.proxy import RouteRule
from openai_proxy.config.snapshot import Snapshot
from tests.config.conftest import ConfigDirectory

TWO = "connections:\n  a: {api_key: k-of-a}\n  b: {api_key: k-of-b}\n"


def problems_of(snapshot: Snapshot) -> list[str]:
    return [f"{Path(p.file).name}:{p.line}:{p.column}: {p.message}" for p in snapshot.problems]


def test_only_a_dangling_target_is_removed_from_a_route(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", TWO + "routing:\n  x: [c.m, a.m]\n  y: aa.*\n  z: {targets: [b.*, q.*]}\n")
    snapshot = config_directory.load()
    assert snapshot.proxy.routing == {"x": RouteRule(("a.m",)), "z": RouteRule(("b.*",))}
    assert problems_of(snapshot) == [
        'proxy.yaml:5:7: there is no connection "c"',
        'proxy.yaml:6:6: there is no connection "aa" (did you mean "a"?)',
        'proxy.yaml:7:22: there is no connection "q"',
    ]


def test_a_dangling_default_is_dropped_not_replaced(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "connections: {a: {api_key: k}}\ndefault_connection: ab\n")
    snapshot = config_directory.load()
    assert snapshot.proxy.default_connection is None
    assert problems_of(snapshot) == ['proxy.yaml:2:21: there is no connection "ab" (did you mean "a"?)']


def test_the_only_connection_is_the_default_and_of_two_none(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "connections: {a: {api_key: k}}\n")
    assert config_directory.load().proxy.default_connection == "a"
    config_directory.write("proxy.yaml", TWO)
    assert config_directory.load().proxy.default_connection is None
    config_directory.write("proxy.yaml", TWO.replace("k-of-b", "'${NOT_THERE}'"))
    assert config_directory.load().proxy.default_connection is None  # the owner did not choose the one that remains


def test_an_entry_left_out_for_another_reason_is_reported_once(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "proxy.yaml", "connections: {a: {api_key: '${NO}'}}\nrouting: {x: a.*}\ndefault_connection: a\n"
    )
    assert len(problems_of(config_directory.load())) == 1


def test_groups_lose_the_connections_that_do_not_exist(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", TWO + "groups:\n  g: {api_keys: [k-1], allowed_connections: 'a, c'}\n")
    snapshot = config_directory.load()
    assert snapshot.proxy.groups["g"].allowed_connections == ("a",)
    assert problems_of(snapshot) == ['proxy.yaml:5:45: there is no connection "c"']


@pytest.mark.parametrize(
    ("first", "second", "reached"),
    [
        ("*", "gpt-4", False),
        ("gpt*", "gpt-4", False),
        ("gpt*", "gpt-4*", False),
        ("*/*", "a/*b", False),
        ("g?t", "gpt", False),
        ("gpt-4", "gpt*", True),
        ("gpt-4*", "gpt*", True),
        ("g?t*", "gpt*", True),
        ("gpt*", "g*", True),
        ("[ab]*", "a*", True),
    ],
)
def test_a_rule_that_can_never_match_is_reported(
    config_directory: ConfigDirectory, first: str, second: str, reached: bool
) -> None:
    config_directory.write("proxy.yaml", TWO + f"routing:\n  '{first}': a.*\n  '{second}': b.*\n")
    expected = [] if reached else [f'proxy.yaml:6:3: "{second}" is never reached: "{first}" in line 5 matches first']
    assert problems_of(config_directory.load()) == expected


def test_a_key_in_two_groups_is_reported_plain_or_hashed(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "proxy.yaml",
        "groups:\n  g: {api_keys: [abc]}\n"
        "  h:\n    api_keys:\n"
        "      - sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD\n"
        "      - other\n",
    )
    assert problems_of(config_directory.load()) == [
        'proxy.yaml:5:9: this key also belongs to the group "g", which comes first and wins'
    ]


def test_prices_of_unreachable_names(config_directory: ConfigDirectory) -> None:
    prices = "prices:\n  gpt-4o: {input: 1}\n  gtp-4o: {input: 1}\n"
    config_directory.write("proxy.yaml", TWO + "routing: {gpt-4o: a.*}\n" + prices)
    assert problems_of(config_directory.load()) == [
        'proxy.yaml:7:3: no route or model leads to "gtp-4o" (did you mean "gpt-4o"?)'
    ]
    config_directory.write("proxy.yaml", TWO + "routing: {'*': a.*}\n" + prices)
    assert problems_of(config_directory.load()) == []  # the route "*" allows any name


def test_a_model_keeps_working_without_its_dangling_names(config_directory: ConfigDirectory) -> None:
    config_directory.write("mcp/servers.yaml", "servers: {home: {command: x}}\n")
    config_directory.write("skills/python.md", "Write Python.")
    config_directory.write("models/m.yaml", "name: m\nmcp_servers: {home: {}, hoem: {}}\nskills: [python, pyhton]\n")
    config_directory.write("models/n.yaml", "name: n\nmcp_servers:\n- home\n- nobody\n")
    snapshot = config_directory.load()
    assert list(snapshot.models["m"].mcp_servers) == ["home"]
    assert snapshot.models["m"].skills == ("python",)
    assert list(snapshot.models["n"].mcp_servers) == ["home"]
    assert problems_of(snapshot) == [
        'm.yaml:2:31: there is no MCP server "hoem" (did you mean "home"?)',
        'm.yaml:3:18: there is no skill "pyhton" (did you mean "python"?)',
        'n.yaml:4:3: there is no MCP server "nobody"',
    ]


WRONG = [
    ("port: 70000", "1:7: port: must be at most 65535"),
    ("port: true", "1:7: port: expected a number, not true or false"),
    ("port: 010", "1:7: `010` is an octal number"),
    ("session_ttl: 12:30", "1:14: `12:30` is a base-60 number"),
    ("require_api_key: no", "1:18: `no` is false to some YAML readers"),
    ("require_api_key: 1", "1:18: require_api_key: expected true or false, not a number"),
    ("host: 8000", "1:7: host: expected text, not a number (put it in quotes if it is text)"),
    ("host: false", "1:7: host: expected text, not false (put it in quotes if it is text)"),
    ("connections: {a: {api_type: opnai}}",
     "1:29: connections.a.api_type: expected openai, ollama, anthropic, google, local or echo "
     '(did you mean "openai"?)'),
    ("connections: {a: {api_base: 'ftp://x'}}",
     "1:29: connections.a.api_base: expected a URL that begins with http:// or https://"),
    ("connections: {a: {url: 'http://x'}}", '1:19: unknown key "url" in connections.a (did you mean "api_base"?)'),
    ("connections: {a: {timeout: {conect: 1}}}", '1:29: unknown key "conect" in connections.a.timeout (did you mean '
     '"connect"?)'),
    ("connections: {a.b: {}}", '1:14: connections: "a.b" cannot be used as a connection name'),
    ("connections: [a]", "1:14: connections: expected a mapping (key: value), not a list"),
    ("connections: {a: {headers: {'a b': x}}}",
     '1:28: connections.a.headers: "a b" cannot be used as the name of an HTTP header'),
    ('connections: {a: {headers: {a: "x\\ny"}}}',
     '1:28: connections.a.headers: the value of the header "a" holds a line'),
    ("connections: {a: {api_key: a, api_keys: [b]}}", "1:18: connections.a: set api_key or api_keys, not both"),
    ("connections: {a: {api_type: local}}", "1:18: connections.a: a local connection needs either path"),
    ("groups: {g: {api_keys: ['sha256:12']}}", "1:25: groups.g.api_keys[0]: expected 64 hex digits after sha256:"),
    ("routing: {'[a': b.c}", '1:10: routing: the pattern "[a" has an unclosed bracket'),
    ("routing: {a: b}", '1:14: routing.a: "b" is not a target: write connection.model'),
    ("routing: {a: {targets: b.c, polcy: x}}", '1:14: routing.a: unknown key "polcy" (did you mean "policy"?)'),
    ("cors: {origins: ['http://a/b']}", '1:17: cors.origins: "http://a/b" is not an origin'),
    ("trusted_proxies: [10.0.0.0/33]", '1:18: trusted_proxies: "10.0.0.0/33" is not a network'),
    ("check_api_key: validate", "1:16: check_api_key: expected a dotted path such as module.function"),
    ("model_listing_mode: as_si",
     '1:21: model_listing_mode: expected as_is, ignore_wildcards or expand_wildcards '
     '(did you mean "as_is"?)'),
    ("storage: disk", "1:10: storage: expected memory, or the URL of a Redis"),
    ("storage: redis+sentinel://10.0.0.1:26379", "1:10: storage: expected the name of the master"),
    ("limits: {storage: disk}", "1:19: limits.storage: expected memory, or the URL of a Redis"),
    ("loggers: [{class: a.B, entri: {}}]", '1:24: unknown key "entri" in loggers[0] (did you mean "entry"?)'),
    ("- a", "1:1: expected a mapping (key: value)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_value_is_reported_in_words_at_its_place(
    config_directory: ConfigDirectory, text: str, words: str
) -> None:
    config_directory.write("proxy.yaml", text + "\n")
    with pytest.raises(ConfigError) as error:
        config_directory.load()
    assert str(error.value).partition("proxy.yaml:")[2].startswith(words)
    assert len(error.value.problems) == 1


def test_no_message_contains_a_key(config_directory: ConfigDirectory) -> None:
    canary = "sk-canary-0123456789"
    config_directory.write(
        "proxy.yaml",
        f"connections: {{a: {{api_key: [{canary}], api_type: {canary}, api_base: 'http://{canary}@h'}}}}\n",
    )
    with pytest.raises(ConfigError) as error:
        config_directory.load(SOME_KEY=canary)
    assert canary not in str(error.value)
    config_directory.write(
        "proxy.yaml", "connections: {a: {api_key: '${SOME_KEY}', headers: {X-Key: 'env:SOME_KEY'}}}\n"
    )
    assert canary not in repr(config_directory.load(SOME_KEY=canary))
