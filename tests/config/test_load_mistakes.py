"""Mistakes that people make: each is reported at its line, by its cause, with a remedy."""

import pytest

from openai_proxy.config.problems import ConfigError, Problem
from tests.config.conftest import ConfigDirectory

ONE = "connections:\n  a: {api_key: k}\n"

IN_PROXY = [
    # Text that YAML reads as something else
    ("star as a name", 'routing:\n  *: "a.*"\n', 2, "a text that begins with * needs quotes"),
    ("star in a name", 'routing:\n  x: a.b\n  *gpt*: "a.*"\n', 3, 'needs quotes: "*gpt*"'),
    ("star as a value", "groups:\n  g:\n    allowed_models: *\n", 3, "needs quotes"),
    ("star in a list", "groups:\n  g: {allowed_models: [*-mini]}\n", 2, 'needs quotes: "*-mini"'),
    ("command prefix", "commands: {prefix: !/}\n", 1, 'needs quotes: "!/"'),
    ("percent", "commands:\n  prefix: %\n", 2, "needs quotes"),
    ("at sign", "connections:\n  a:\n    api_key: @home\n", 3, 'needs quotes: "@home"'),
    ("colon in a text", "connections:\n  a:\n    headers: {X-Title: x}\n    model: note: this\n", 4, "in quotes"),
    ("braces of a variable", "connections:\n  a: {api_key: ${KEY}}\n", 2, "such as ${NAME} needs quotes"),
    ("a word that is not true everywhere", "require_api_key: yes\n", 1, 'write true, or "yes"'),
    # Unclosed quotes and brackets
    ("quote to the end", 'connections:\n  a:\n    api_key: "abc\n    model: x\n', 3, "never closed"),
    ("quote to the next quote", 'host: "0.0.0.0\ndefault_connection: "a"\n', 1, "not closed on its line"),
    ("apostrophe", "connections:\n  a:\n    model: 'it's'\n", 3, "is written twice"),
    ("backslash", 'connections:\n  a: {api_type: local, path: "C:\\models\\x"}\n', 2, "single quotes"),
    ("bracket", "connections:\n  a:\n    api_keys: [k1, k2\nport: 8000\n", 3, "the [ that opens here is not closed"),
    ("bracket at the end", "connections: [\n", 1, "the [ that opens here is never closed"),
    ("brace at the end", "port: 8000\nconnections: {a: {api_key: k},\n", 2, "the { that opens here is never closed"),
    ("brace", "connections:\n  a: {api_key: k\nport: 8000\n", 2, "the { that opens here is not closed"),
    ("comma", "connections:\n  a: {api_key: k model: x}\n", 2, "expected a comma or }"),
    ("one bracket too many", "trusted_proxies: [10.0.0.0/8]]\n", 1, "an extra ]"),
    # Whitespace
    ("tab", "connections:\n\ta: {api_key: k}\n", 2, "use spaces"),
    ("indented too far", "port: 8000\n  host: x\n", 2, "indented like its neighbours"),
    ("indented too little", "connections:\n   a:\n     api_key: k\n  b:\n     api_key: k\n", 4, "not indented like"),
    ("no space after a colon", "host: x\nport:8000\nsession_ttl: 60\n", 2, "a space is missing after the colon"),
    ("nothing but that", "port:8000\n", 1, "is a space missing after a colon?"),
    ("no space after a dash", "loggers:\n  -class: x.Y\n", 2, "expected a list"),
    ("a colon forgotten", "port: 8000\nconnections\nhost: x\n", 2, "a colon is missing after `connections`"),
    # Invisible characters
    ("no-break space", "connections:\n\u00a0\u00a0a: {api_key: k}\n", 2, "(no-break space, U+00A0)"),
    ("zero-width space in a key", "po\u200brt: 8000\n", 1, 'the key "port" contains an invisible character'),
    ("zero-width space in a secret", "connections:\n  a: {api_key: sk-1\u200b}\n", 2, "zero width space, U+200B"),
    ("typographic quotes", "connections:\n  a: {api_key: \u201csk-1\u201d}\n", 2, "the character \u201c instead of \""),
    ("full-width colon", "port\uff1a 8000\nhost: x\n", 1, "instead of :"),
    ("Markdown", "```yaml\nport: 8000\n```\n", 1, "remove these lines"),
    # Wrong words
    ("a key of another program", ONE + "    base_url: http://x\n", 3, ""),
    ("a key nearly right", "conections: {}\n", 1, 'did you mean "connections"?'),
    ("twice", "port: 8000\nhost: x\nport: 8001\n", 3, 'duplicate key "port" (first in line 1)'),
    ("LiteLLM's file", "model_list:\n  - model_name: gpt\n", 1, "`openai-proxy import FILE`"),
    ("an endpoint as api_base", "connections:\n  a: {api_base: 'https://x.y/v1/chat/completions'}\n", 2, "write https://x.y/v1,"),
    ("an address without http", "connections:\n  a: {api_base: 192.168.1.20:11434}\n", 2, "begins with http://"),
    ("a number in words", "port: eight thousand\n", 1, "port: expected a whole number, not text"),
    ("too large", "port: 80000\n", 1, "port: must be at most 65535"),
    ("a list for a mapping", "connections:\n  - a\n", 2, "expected a mapping (key: value), not a list"),
    ("an unknown connection", ONE + "default_connection: b\n", 3, 'there is no connection "b"'),
    # Wrong places or forms
    ("two keys in api_key", "connections:\n  a:\n    api_key: [k1, k2]\n", 3, "several keys: api_keys"),
    ("connections as a list", "connections:\n  - name: a\n    api_key: k\n", 2, "each has its name as its key"),
    ("groups as a list", ONE + "groups:\n  - family\n", 4, "each needs a name and a colon"),
    ("rules as a list", ONE + "routing:\n  - gpt: a.*\n", 4, "remove the dashes"),
    ("a target without an s", ONE + "routing:\n  gpt: {target: a.x}\n", 4, 'did you mean "targets"?'),
    ("clients' keys at the top", ONE + "api_keys: [abc]\n", 3, "groups: {family: {api_keys: […]}}"),
    ("a provider's key at the top", "api_key: k\n", 1, "belongs to its connection"),
    ("servers in proxy.yaml", "mcp_servers: {}\n", 1, "mcp/servers.yaml"),
    ("a parameter at params", "params: {temperature: 0.2}\n", 1, "below default: {temperature: …}"),
    ("a port in the address", "host: 0.0.0.0:8000\n", 1, "which belongs in `port`"),
    ("an address as host", "host: http://0.0.0.0\n", 1, "without http://"),
    ("a sign for a currency", "currency: €\n", 1, "three letters of a currency"),
    ("a provider's name as type", "connections:\n  a: {api_type: openrouter, api_key: k}\n", 2,
     "write openai, with api_base: https://openrouter.ai/api/v1"),
    ("another name of a type", "connections:\n  a: {api_type: gemini, api_key: k}\n", 2, "(write google)"),
    ("a unit", ONE + "session_ttl: 1h\n", 3, "write only the number"),
    ("comments of other languages", '{\n// hello\n"port": 8000}\n', 2, "write #"),
    ("TOML", "[server]\nport = 8000\n", 2, "looks like TOML"),
    ("a rule that is never reached", ONE + "routing:\n  '*': a.*\n  gpt: a.b\n", 5, "is never reached"),
]  # fmt: skip


def problems(config_directory: ConfigDirectory) -> list[Problem]:
    try:
        return list(config_directory.load().problems)
    except ConfigError as error:
        return list(error.problems)


@pytest.mark.parametrize(("text", "line", "words"), [case[1:] for case in IN_PROXY], ids=[case[0] for case in IN_PROXY])
def test_a_mistake_in_proxy_yaml(config_directory: ConfigDirectory, text: str, line: int, words: str) -> None:
    config_directory.write("proxy.yaml", text)
    told = problems(config_directory)
    assert told
    assert (told[0].line, words in told[0].message) == (line, True), told[0]
    for problem in told:
        assert not any(
            word in problem.message for word in ("Error", "scalar", "block", "mapping values", "Input should")
        )


SERVERS = [
    (
        "the whole command line",
        "servers:\n  t:\n    command: npx -y mcp-x\n",
        3,
        "write command: npx, args: [-y, mcp-x]",
    ),
    ("mcpServers", "mcpServers:\n  t: {command: x}\n", 1, 'unknown key "mcpServers" (did you mean "servers"?)'),
    ("neither command nor url", "servers:\n  t: {description: x}\n", 2, "command (a program to run) or url"),
    ("both", "servers:\n  t: {type: stdio, command: x, url: 'http://x'}\n", 2, "has no url"),
    ("a name with a dot", "servers:\n  a.b: {command: x}\n", 2, "use letters, digits, - and _"),
    ("arguments as text", "servers:\n  t: {command: x, args: y}\n", 2, "put it in brackets"),
    ("variables as a list", "servers:\n  t: {command: x, env: [A=b]}\n", 2, "write each as NAME: value"),
    ("a kind that is none", "servers:\n  t: {type: stdoi, command: x}\n", 2, 'did you mean "stdio"?'),
]


@pytest.mark.parametrize(("text", "line", "words"), [case[1:] for case in SERVERS], ids=[case[0] for case in SERVERS])
def test_a_mistake_in_servers_yaml(config_directory: ConfigDirectory, text: str, line: int, words: str) -> None:
    config_directory.write("mcp/servers.yaml", text)
    told = problems(config_directory)
    assert told
    assert (told[0].line, words in told[0].message) == (line, True), told[0]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("skills/python/skill.md", "# Python\n", "rename this file to SKILL.md"),
        ("skills/augmented/nobody/x.md", "text\n", 'belongs to the model "augmented/nobody", which does not exist'),
        ("models/x.yaml", "", "a model needs at least a `name`"),
        ("models/x.yaml", "upstream_model: gpt\n", '"name" is missing'),
        ("models/x.yaml", "name: x\ntemperature: 0.3\n", "below params: {default: {temperature: …}}"),
        ("models/x.yaml", "- name: x\n", "one per file, without a leading dash"),
        ("models/x.yaml", "models: {x: {}}\n", "one model per file"),
        ("models/x.yaml", "name: x\nprompt: Hello\n", 'unknown key "prompt" (did you mean "system_prompt"?)'),
        ("models/x.yaml", "name: x\nmcp_servers: [home]\n", 'there is no MCP server "home"'),
        (".env", "OPENROUTER_API_KEY sk-1\n", "expected NAME=value"),
    ],
)
def test_a_mistake_elsewhere(config_directory: ConfigDirectory, name: str, text: str, told: str) -> None:
    config_directory.write(name, text)
    assert any(told in problem.message for problem in problems(config_directory)), problems(config_directory)


@pytest.mark.parametrize(
    ("text", "both"),
    [
        ("port: x\ntmeout: 3\n", [(1, "expected a whole number"), (2, 'unknown key "tmeout"')]),
        ("port: 1\nport: 2\nhots: x\n", [(2, "duplicate key"), (3, 'unknown key "hots"')]),
        ("port:8000\nhost: x\nhots: y\n", [(1, "a space is missing"), (3, 'unknown key "hots"')]),
        ("a: 'x\n", [(1, "never closed")]),
        (ONE + "port: x\ndefault_connection: b\n", [(3, "expected a whole number"), (4, "there is no connection")]),
        ("connections:\n  a: {api_kye: k}\nrouting:\n  x: b.c\n", [(2, 'unknown key "api_kye"'), (4, "no connection")]),
        ("hots: 1\nconnections:\n  a: {api_key: 'k}\n", [(1, 'unknown key "hots"'), (3, "never closed")]),
        ("a: [1\nb: {x: 1\nport: 3\n", [(1, "not closed"), (2, "not closed")]),
    ],
)  # fmt: skip
def test_two_mistakes_are_reported_together(
    config_directory: ConfigDirectory, text: str, both: list[tuple[int, str]]
) -> None:
    config_directory.write("proxy.yaml", text)
    told = sorted(problems(config_directory), key=lambda problem: problem.line)
    assert [line for line, _ in both] == [
        problem.line for problem in told if any(w in problem.message for _, w in both)
    ]


def test_mistakes_in_a_model_and_in_proxy_yaml_are_reported_together(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "port: x\n")
    config_directory.write("models/m.yaml", "name: m\ntols: []\nmcp_servers: [home]\n")
    told = [problem.message for problem in problems(config_directory)]
    assert len(told) == 3
    assert any("expected a whole number" in text for text in told)
    assert any('unknown key "tols"' in text for text in told)
    assert any('no MCP server "home"' in text for text in told)


def test_a_mistake_causes_no_further_problems(config_directory: ConfigDirectory) -> None:
    """What is missing because of a lost line is not reported."""
    config_directory.write(
        "proxy.yaml", "connections:\n  a: {api_key: k\n  b: {api_key: k}\ndefault_connection: b\nrouting: {x: a.y}\n"
    )
    assert [problem.line for problem in problems(config_directory)] == [2]
