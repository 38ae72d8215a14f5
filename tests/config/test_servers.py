"""conf/mcp/servers.yaml: forms, identity, secrets."""

from pathlib import Path

import pytest

from openai_proxy.config.servers import ServerConfig
from openai_proxy.secrets import vault
from tests.config.conftest import ConfigDirectory


def test_the_type_follows_from_the_members_and_has_aliases(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "mcp/servers.yaml",
        "servers:\n  a: {command: x}\n  b: {url: 'http://h/mcp'}\n  c: {type: http, url: 'https://h'}\n"
        "  d: {type: streamable-http, url: 'https://h'}\n  e: {type: sse, url: 'https://h/sse'}\n",
    )
    servers = config_directory.load().servers
    assert [s.type for s in servers.values()] == ["stdio", "streamablehttp", "streamablehttp", "streamablehttp", "sse"]
    assert [s.name for s in servers.values()] == list("abcde")


def test_numbers_in_args_env_and_headers_are_the_text_that_was_written(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "mcp/servers.yaml",
        "servers:\n  a: {command: x, args: [-p, 8080, 1.10, true], env: {V: 1.0, T: true}}\n"
        "  b: {url: 'http://h', headers: {X-Version: 2.0}}\n",
    )
    servers = config_directory.load().servers
    assert servers["a"].args == ("-p", "8080", "1.10", "true")
    assert servers["a"].env == {"V": "1.0", "T": "true"}
    assert servers["b"].headers == {"X-Version": "2.0"}


WRONG = [
    ("a: {}", "1:14: set command (a program to run) or url (the address of a server)"),
    ("a: {type: stdio, url: 'http://h'}", "1:14: a server of type stdio needs command"),
    ("a: {command: x, url: 'http://h'}", "1:14: set either command (a program on this machine) or url"),
    ("a: {type: sse, url: 'http://h', args: [1]}", "1:14: a server of type sse has no args"),
    ("a: {url: 'file:///x'}", "1:20: url: expected a URL that begins with http:// or https://"),
    ("a: {type: websocket, url: 'http://h'}", "1:21: type: expected stdio, sse or streamablehttp"),
    ("a b: {command: x}", '1:11: "a b" cannot be used as a server name'),
    (f"{'a' * 33}: {{command: x}}", f'1:11: "{"a" * 33}" cannot be used as a server name'),
    ("a: {command: x, name: b}", '1:27: unknown key "name" (its name is its key)'),
    ("a: {command: x, timeout: 0}", "1:36: timeout: must be more than 0"),
    ("a: {command: x, env: {A: no}}", "1:36: `no` is false to some YAML readers"),
    ("a: {command: x, args: [12:30]}", "1:34: `12:30` is a base-60 number"),
    ("a: {command: x, whitelist: ['[']}", '1:38: whitelist: the pattern "[" has an unclosed bracket'),
    ("a: {command: x, auth: oauth}", "1:14: a server of type stdio has no auth"),
    ("a: {url: 'http://h', auth: bearer}", '1:38: auth: expected "oauth"'),
    ("a: {url: 'http://h', auth: {client_secret: s}}", "1:38: auth: client_secret needs a client_id"),
    ("a: {url: 'http://h', auth: {scopes: ['a b']}}", '1:38: auth: "a b" cannot be a scope'),
    ("a: [x]", "1:14: expected a mapping (key: value), not a list"),
]


@pytest.mark.parametrize(("entry", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_server_is_reported_and_the_others_work(
    config_directory: ConfigDirectory, entry: str, words: str
) -> None:
    config_directory.write("mcp/servers.yaml", f"servers: {{{entry}, good: {{command: y}}}}\n")
    snapshot = config_directory.load()
    assert list(snapshot.servers) == ["good"]
    [problem] = snapshot.problems
    assert str(problem).partition("servers.yaml:")[2].startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mcpServers: {}\n", '1:1: unknown key "mcpServers" (did you mean "servers"?)'),
        ("- a\n", "1:1: expected `servers:` with a mapping"),
        ("servers: [a]\n", "1:10: servers: expected a mapping of names to servers"),
    ],
)
def test_a_wrong_file_is_reported(config_directory: ConfigDirectory, text: str, words: str) -> None:
    config_directory.write("mcp/servers.yaml", text)
    [problem] = config_directory.load().problems
    assert str(problem).partition("servers.yaml:")[2].startswith(words)


def test_identity_covers_what_needs_a_new_process() -> None:
    base = ServerConfig(name="a", command="x", args=("1",), env={"A": "1", "B": "2"})
    same = ServerConfig(
        name="b", command="x", args=("1",), env={"B": "2", "A": "1"}, timeout=5, whitelist=("x",), description="d"
    )
    assert same.identity() == base.identity()
    others = [{"command": "y"}, {"args": ("1", "2")}, {"env": {}}, {"cwd": "/"}]
    identities = {base.model_copy(update=change).identity() for change in others}
    assert len(identities | {base.identity()}) == 5


def test_values_that_look_like_secrets_are_known_to_the_vault(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "mcp/servers.yaml",
        "servers:\n"
        "  a: {command: x, args: [--api-key, arg-secret-1, --token=arg-secret-2, --verbose, plain-word], "
        "env: {HA_TOKEN: env-secret-1, MODE: plain-mode}}\n"
        "  b: {url: 'http://h/mcp?token=url-secret-1', headers: {Authorization: Bearer head-secret-1}}\n",
    )
    snapshot = config_directory.load()
    secrets = {"arg-secret-1", "arg-secret-2", "env-secret-1", "url-secret-1", "head-secret-1", "Bearer head-secret-1"}
    assert secrets <= vault.known()
    assert not {"plain-word", "plain-mode"} & vault.known()
    assert not any(secret in repr(snapshot) for secret in secrets)


def test_servers_yml_is_read(config_directory: ConfigDirectory) -> None:
    config_directory.write("mcp/servers.yml", "servers: {a: {command: x}}\n")
    snapshot = config_directory.load()
    assert list(snapshot.servers) == ["a"]
    assert Path(snapshot.place("server", "a", ("command",))[0]).name == "servers.yml"
    assert snapshot.place("server", "a", ("command",))[1:] == (1, 24)


def test_oauth_has_a_short_form_and_its_secret_is_known(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "mcp/servers.yaml",
        "servers:\n  a: {url: 'http://h', auth: oauth}\n"
        "  b: {url: 'http://h', auth: {type: oauth, client_id: c, client_secret: the-clients-secret, scopes: [x, y]}}\n"
        "  c: {url: 'http://h'}\n",
    )
    servers = config_directory.load().servers
    assert servers["a"].auth is not None
    assert servers["a"].auth.client_id is None
    assert servers["b"].auth is not None
    assert servers["b"].auth.scopes == ("x", "y")
    assert vault.found_in("the-clients-secret")
    assert len({server.identity() for server in servers.values()}) == 3
