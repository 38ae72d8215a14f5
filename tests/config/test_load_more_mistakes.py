"""More mistakes that people make, in every kind of file: the place, cause and remedy of each."""

import re

import pytest

from openai_proxy.config.problems import Problem
from openai_proxy.config.warnings import warnings
from openai_proxy.runtime import checking
from tests.config.conftest import ConfigDirectory
from tests.config.test_load_mistakes import ONE, problems

PROXY, SERVERS, MODEL, TOOL = "proxy.yaml", "mcp/servers.yaml", "models/x.yaml", "tools/t.yaml"
KEYED = "groups:\n  g: {api_keys: [k], "

WRONG = [
    ("a dash without its space", PROXY, "loggers:\n  -class: x.Y\n", 2, "is a space missing after the -?"),
    ("a mapping for a list", PROXY, "loggers:\n  class: x.Y\n", 2, "each entry has a leading dash"),
    ("a comma in a number", PROXY, "port: 8,000\n", 1, "write it without commas"),
    ("an equals sign", PROXY, "port = 8000\n", 1, "with a colon, not with ="),
    ("text behind JSON", PROXY, '{"port": 8000} extra\n', 1, "text after the end of the content"),
    ("a name left out", PROXY, "connections:\n  api_type: ollama\n", 2, "(connections: {NAME: {api_type: …}})"),
    ("not indented", PROXY, "connections:\na:\n  api_key: k\n", 2, "if it belongs to connections, indent it"),
    ("a limit beside limits", PROXY, KEYED + "requests_per_day: 3}\n", 2, "below limits: {requests_per_day: …}"),
    ("a bound at the top", PROXY, "max_body_mb: 3\n", 1, "below limits: {max_body_mb: …}"),
    ("origins at the top", PROXY, "origins: ['*']\n", 1, "below cors: {origins: …}"),
    ("a secret of Home Assistant", PROXY, "connections:\n  a: {api_key: !secret x}\n", 2, 'write "${NAME}"'),
    ("headers as a list", PROXY, "connections:\n  a: {headers: ['X: y']}\n", 2, "write each as NAME: value"),
    ("keys right below a group", PROXY, "groups:\n  g: [k1, k2]\n", 2, "keys belong below it ({api_keys: […]})"),
    ("money with its name", PROXY, KEYED + "limits: {cost_per_day: 2 EUR}}\n", 2, "is the setting `currency`"),
    ("money with its sign", PROXY, KEYED + "limits: {cost_per_day: $2}}\n", 2, "is the setting `currency`"),
    ("a comma in a flow", PROXY, KEYED + "limits: {cost_per_day: 2,5}}\n", 2, "fractions with a point (2.5)"),
    ("a comma in a price", PROXY, "prices:\n  m:\n    input: 2,5\n", 3, "fractions with a point (2.5)"),
    ("one price", PROXY, "prices:\n  m: 2.5\n", 2, "(its keys: input, cached_input"),
    ("prices of LiteLLM", PROXY, "prices:\n  m: {completion: 1}\n", 2, 'did you mean "output"?'),
    ("wyoming: true", PROXY, "wyoming: true\n", 1, "(its keys: port, stt, tts"),
    ("the same port twice", PROXY, "wyoming: {port: 8000, stt: a:b}\n", 1, "is the proxy's own port"),
    ("storage: redis", PROXY, "storage: redis\n", 1, "such as redis://127.0.0.1:6379"),
    ("an address for telemetry", PROXY, "telemetry: http://x:4318\n", 1, "(its keys: endpoint, headers, content)"),
    ("never", PROXY, "log_retention_days: never\n", 1, "for no limit write null"),
    ("an address as host name", PROXY, "allowed_hosts: [http://x/]\n", 1, "without http:// and without a path"),
    ("a space in an address", PROXY, "connections:\n  a: {api_base: 'http://my pc'}\n", 2, "has no spaces"),
    ("cors: '*'", PROXY, "cors: '*'\n", 1, "(its keys: origins)"),
    ("commands: false", PROXY, "commands: false\n", 1, "(its keys: enabled, prefix, interactive)"),
    ("a class of nobody", PROXY, "loggers:\n  - class: nope.X\n", 2, "there is no Python module nope"),
    ("a check of nobody", PROXY, "check_api_key: nope.check\n", 1, "there is no Python module nope"),
    ("a text not indented", MODEL, "name: x\nsystem_prompt: |\nHello\nyou\n", 3, "line 2 must be indented"),
    ("a template without quotes", MODEL, "name: x\nsystem_prompt: {{f()}}\n", 2, "needs quotes"),
    ("a filter at the top", MODEL, "name: x\nwhitelist: []\n", 2, "below mcp_servers: {NAME: {whitelist: …}}"),
    ("tools as a mapping", MODEL, "name: x\ntools: {calculator: true}\n", 2, "each entry has a leading dash"),
    ("no servers: above", SERVERS, "home: {command: x}\n", 1, "each server belongs below `servers:`"),
    ("servers as a list", SERVERS, "servers:\n  - name: x\n", 2, "remove the dashes"),
    ("a server without a name", SERVERS, "servers:\n  command: uvx\n", 2, "its name is missing above it"),
    ("one header as text", SERVERS, "servers:\n  t: {url: 'http://x', headers: 'A: b'}\n", 2, "as NAME: value"),
    ("a program and an address", SERVERS, "servers:\n  t: {command: x, url: 'http://x'}\n", 2, "not both"),
    ("a token below auth", SERVERS, "servers:\n  t: {url: 'http://x', auth: {token: t}}\n", 2, "goes into headers"),
    ("an image", SERVERS, "servers:\n  t: {image: mcp/x}\n", 2, "a container is a command"),
    ("an address for http", TOOL, "name: t\nhttp: http://x\n", 2, "expected a mapping (key: value), not text"),
    ("names as parameters", TOOL, "name: t\nparameters: {r: string}\nhttp: {url: 'http://x/{r}'}\n", 2, "JSON Schema"),
    ("a command line", TOOL, "name: t\ncommand: echo hi\n", 2, "write command: [echo, hi]"),
    ("two kinds", TOOL, "name: t\ncommand: [x]\nhttp: {url: 'http://x'}\n", 1, "both http and command"),
    ("a dash glued to an option", SERVERS,
     "servers:\n  t:\n    command: x\n    args:\n    -y\n    - m\n", 5, "a dash and a space"),
    ("a dash of a word processor", PROXY, "groups:\n  g:\n    api_keys:\n      \u2013 k1\n", 4, "not with \u2013"),
    ("an empty text for a list", PROXY, "groups:\n  g: {api_keys: ''}\n", 2, "not text (write [] for an empty one)"),
    ("a variable without a value", SERVERS, "servers:\n  t:\n    command: x\n    env:\n      A:\n", 5, 'write ""'),
    ("a name without a value", MODEL, "name:\nupstream_model: x\n", 1, "expected text, not nothing"),
    ("inputs of VS Code", SERVERS,
     '{"inputs": [], "servers": {"t": {"command": "x"}}}\n', 1, "write ${NAME} instead"),
    ("approvals of Cline", SERVERS, "servers:\n  t: {command: x, alwaysAllow: [a]}\n", 2, "lists in `confirm`"),
    ("an address of Windsurf", SERVERS, "servers:\n  t: {serverUrl: 'http://x'}\n", 2, 'did you mean "url"?'),
    ("servers with name:", MODEL,
     "name: x\nmcp_servers:\n  - name: h\n    whitelist: [a]\n", 3, "has its name as its key"),
    ("a prompt in pieces", MODEL, "name: x\nsystem_prompt:\n  - You are\n", 3, "write `system_prompt: |`"),
    ("messages", MODEL, "name: x\nmessages: []\n", 2, "message goes into `system_prompt`"),
    ("a comma in a parameter", MODEL,
     "name: x\nparams: {default: {temperature: 0,7}}\n", 2, "with a point (2.5)"),
    ("a colon in front of a port", PROXY, "port: :8000\n", 1, "write only the number"),
    ("a semicolon", PROXY, "port: 8000;\n", 1, "write only the number"),
    ("a comment without its space", PROXY, "port: 8000#web\n", 1, "write only the number"),
    ("days", PROXY, "log_retention_days: 30d\n", 1, "write only the number, in the unit of this setting"),
    ("minus one for ever", PROXY, "log_retention_days: -1\n", 1, "null means no limit"),
    ("a merge without its star", PROXY,
     "connections:\n  a: &x {api_key: k}\n  b:\n    <<: x\n", 4, "write `<<: *NAME`"),
    ("a variable at the top", PROXY, "OPENROUTER_API_KEY: k\n", 1, "belong in .env (OPENROUTER_API_KEY=…)"),
    ("a variable of Jinja", PROXY, "connections:\n  a: {api_key: '{{ KEY }}'}\n", 2, 'write a variable as "${NAME}"'),
    ("env: with a space", PROXY, "connections:\n  a: {api_key: 'env: KEY'}\n", 2, 'write a variable as "${NAME}"'),
    ("Bearer", PROXY, "connections:\n  a: {api_key: Bearer k}\n", 2, "leave out the word Bearer"),
    ("a key indented too far", PROXY, "groups:\n  g:\n    api_keys:\n    - k1\n     - k2\n", 4, "indented too far?"),
    ("a slash for a point", PROXY, ONE + "routing:\n  x: a/g.5\n", 4, "between connection and model: a.MODEL"),
    ("a list of origins", PROXY, "cors: ['http://x']\n", 1, "(its keys: origins)"),
    ("an option as a setting", PROXY, "log_level: debug\n", 1, "serve --log-level debug"),
    ("every address", PROXY, "host: '*'\n", 1, "for every address write 0.0.0.0"),
    ("a prefix of nothing", PROXY, "commands: {prefix: ''}\n", 1, "must not be empty"),
    ("a web page", PROXY, "<!DOCTYPE html>\n<html><body>port: 8000</body></html>\n", 1, "this is a web page, not YAML"),
    ("a no-break space behind a colon", PROXY, "port:\u00a08000\n", 1, "no-break space, U+00A0"),
    ("a # in braces", PROXY, "connections:\n  a: {api_key: k #1}\n", 2, "a # begins a comment"),
    ("a quote in .env", ".env", "A='k\n", 1, "the quote that opens here is never closed"),
    ("a module of nobody", "tools/p.py", "import nope_mod\n", 1, "there is no Python module nope_mod"),
]  # fmt: skip


def check(config_directory: ConfigDirectory) -> list[Problem]:
    """The output of `openai-proxy check`, without its warnings."""
    found = problems(config_directory)
    if found:
        return found
    snapshot = config_directory.load()
    return [*checking.models(snapshot), *checking.loggers(snapshot), *checking.validator(snapshot)]


@pytest.mark.parametrize(
    ("name", "text", "line", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_a_mistake_is_reported_once_at_its_line_with_a_remedy(
    config_directory: ConfigDirectory, name: str, text: str, line: int, words: str
) -> None:
    config_directory.write(name, text)
    found = check(config_directory)
    assert len(found) == 1, found
    assert (found[0].file.endswith(name), found[0].line) == (True, line), found
    assert words in found[0].message
    assert re.search(r"\b[A-Z]\w+(Error|Exception)\b|<\w+ \w+>|Input should", found[0].message) is None


UNLIKELY = [
    ("a brace forgotten", "connections:\n  a: {api_key: '${KEY'}\n", "a ${ without its }"),
    ("a key of an example", "connections:\n  a: {api_key: sk-...}\n", "looks like an example"),
    ("your key here", "connections:\n  a: {api_key: your_api_key}\n", "looks like an example"),
    ("a regular expression", ONE + "routing:\n  '^gpt-.*$': a.*\n", "rules are globs"),
    ("a server of nobody", ONE + KEYED + "mcp: [home]}\n", 'there is no MCP server "home"'),
    ("a language by name", ONE + "wyoming: {tts: a:t, languages: [german]}\n", '"german" is not a language code'),
    ("typographic quotes",
     "connections:\n  a: {api_key: k, model: \u201cx\u201d}\n", "the quotes \u201c and \u201d are part of the text"),
    ("a model of nobody", ONE + KEYED + "allowed_models: [augmented/x]}\n", 'there is no model "augmented/x"'),
    ("a model that is not there", "connections:\n  a: {api_type: local, path: /nope}\n", "no such directory"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), [case[1:] for case in UNLIKELY], ids=[case[0] for case in UNLIKELY])
def test_probable_mistakes_are_warnings(config_directory: ConfigDirectory, text: str, words: str) -> None:
    config_directory.write("proxy.yaml", text)
    assert problems(config_directory) == []
    (found,) = warnings(config_directory.load())
    assert words in found.message


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (SERVERS, "servers:\n  t: {command: x, args: ['-y m']}\n", "write each word as a separate argument"),
        ("mcp/mcp.json", "{}", "`openai-proxy import FILE` converts it"),
        ("skills/x.md", "---\nname: x\nBe kind.\n", "that no second --- closes"),
    ],
)
def test_probable_mistakes_in_other_files_are_warnings(
    config_directory: ConfigDirectory, name: str, text: str, words: str
) -> None:
    config_directory.write(name, text)
    (found,) = warnings(config_directory.load())
    assert found.file.endswith(name)
    assert words in found.message


def test_members_indented_too_little_are_reported(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "connections:\n  a:\n  api_key: k\n")
    empty, flat = problems(config_directory)
    assert (empty.line, flat.line) == (2, 3)
    assert "if it belongs to a, indent it further" in flat.message


def test_an_unindented_second_connection_is_reported(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", ONE + "b:\n  api_key: j\n")
    (found,) = problems(config_directory)
    assert (found.line, found.message) == (3, 'unknown key "b": if it belongs to connections, indent it')


@pytest.mark.parametrize(
    "text",
    [
        "connections:\n  a: {api_key: 'a$${b'}\n",
        "connections:\n  a: {api_key: '${KEY:-k}'}\n",
        ONE + "routing:\n  'gpt-4.*': a.*\n  'llama3?': a.x\n",
        ONE + KEYED + "mcp: ['*', tools]}\n",
        ONE + "wyoming: {tts: a:t, languages: [de, en-GB, yue]}\n",
    ],
)
def test_plausible_values_are_no_warnings(config_directory: ConfigDirectory, text: str) -> None:
    config_directory.write("proxy.yaml", text)
    assert list(warnings(config_directory.load())) == []


@pytest.mark.parametrize(
    "text",
    [
        "groups:\n  g:\n    allowed_models: *\n",
        "groups:\n  g: {allowed_models: [*-mini]}\n",
        "connections:\n  a:\n    api_key: @home\n",
        "connections:\n  a:\n    api_key: {{ KEY }}\n",
    ],
)
def test_consequences_of_a_lost_line_are_not_reported(config_directory: ConfigDirectory, text: str) -> None:
    config_directory.write("proxy.yaml", text)
    assert len(problems(config_directory)) == 1
