"""Warnings of `check` about what works but is probably a mistake: each at its place, and the exit status stays 0."""

import pytest

from openai_proxy.cli.main import run
from tests.config.conftest import ConfigDirectory

TWO = "connections:\n  a: {api_key: k-of-a}\n  b: {api_key: k-of-b}\n"
ONE = "connections:\n  home: {api_key: k-of-a}\n"
KIDS = "groups:\n  kids: {limits: {cost_per_day: 1}}\n"


@pytest.fixture(autouse=True)
def nothing_set(config_directory: ConfigDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration's directory as the working directory, and none of our variables in the environment."""
    from openai_proxy.config.environment import VARIABLES

    for row in VARIABLES:
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.chdir(config_directory.root)


def warned(capsys: pytest.CaptureFixture[str], code: int = 0) -> list[str]:
    """The warnings of `check`, which ends with `code`."""
    assert run(["check"]) == code
    lines = capsys.readouterr().out.splitlines()
    return [line.removeprefix("conf/") for line in lines if ": warning: " in line]


def prompt(text: str) -> str:
    return "name: m\nupstream_model: home:x\nsystem_prompt: |\n" + "".join(f"  {line}\n" for line in text.split("\n"))


CASES = [
    ("a reverse proxy and no keys", {"proxy.yaml": "trusted_proxies: [10.0.0.1/32]\n"},
     "proxy.yaml:1:18", "behind a reverse proxy keys are needed"),
    ("a budget in another currency", {"proxy.yaml": f"{ONE}currency: EUR\n{KIDS}"},
     "proxy.yaml:5:33", "nothing counts in EUR, because the bundled prices are in USD"),
    ("a budget and no prices", {"proxy.yaml": f"{ONE}bundled_prices: false\n{KIDS}"},
     "proxy.yaml:5:33", "nothing counts except costs that providers report themselves"),
    ("two connections, no default", {"proxy.yaml": TWO}, "proxy.yaml:1:1", "add default_connection (one of: a, b)"),
    ("an augmented upstream", {"proxy.yaml": ONE, "models/x.yaml": "name: x\nupstream_model: home:m\n",
                               "models/y.yaml": "name: y\nupstream_model: x\n"},
     "models/y.yaml:2:17", 'cannot be stacked: the provider is asked for a model of that name; '
     'write what it uses, "home:m"'),
    ("a misspelt connection", {"proxy.yaml": ONE, "models/x.yaml": "name: x\nupstream_model: hoem:m\n"},
     "models/x.yaml:2:17", 'there is no connection "hoem" (did you mean "home"?)'),
    ("a provider nobody configured", {"proxy.yaml": ONE, "models/x.yaml": "name: x\nupstream_model: openai:gpt-5\n"},
     "models/x.yaml:2:17", 'there is no connection "openai" (there are: home)'),
    ("a routing target as a name", {"proxy.yaml": ONE, "models/x.yaml": "name: x\nupstream_model: home.gpt-5\n"},
     "models/x.yaml:2:17", 'write "home:gpt-5"'),
    ("a variable without braces", {"proxy.yaml": "connections:\n  a: {api_key: $OPENAI_API_KEY}\n"},
     "proxy.yaml:2:16", 'write the variable OPENAI_API_KEY as "${OPENAI_API_KEY}": without the braces, this '
     "text itself is the value ($$ is a literal $)"),
    ("one inside a text",
     {"mcp/servers.yaml": "servers:\n  t:\n    url: http://x/\n    headers: {A: Bearer $HA_TOKEN}\n"},
     "mcp/servers.yaml:4:18", '"${HA_TOKEN}"'),
    ("as make writes a variable", {"proxy.yaml": "connections:\n  a: {api_key: $(OPENAI_API_KEY)}\n"},
     "proxy.yaml:2:16", '"${OPENAI_API_KEY}"'),
    ("as Windows does", {"proxy.yaml": "connections:\n  a: {api_key: '%OPENAI_API_KEY%'}\n"},
     "proxy.yaml:2:16", '"${OPENAI_API_KEY}"'),
    ("as LiteLLM does", {"proxy.yaml": "connections:\n  a: {api_key: os.environ/OPENAI_API_KEY}\n"},
     "proxy.yaml:2:16", '"${OPENAI_API_KEY}"'),
    ("a tool that may outlive its turn",
     {"models/x.yaml": "name: x\nupstream_model: home:m\ndeadline: 10\ntool_timeout: 30\n"},
     "models/x.yaml:4:15", "tool_timeout is 30 s, but the whole turn must end after 10 s"),
    ("JSON among the models", {"models/x.json": "{}"}, "models/x.json:1:1", "models are *.yaml"),
    ("an ending too many", {"models/x.yaml.txt": "name: x\n"}, "models/x.yaml.txt:1:1", "models are *.yaml"),
    ("no ending", {"models/x": "name: x\n"}, "models/x:1:1", "models are *.yaml"),
    ("models in a folder", {"models/augmented/x.yaml": "name: x\n"}, "models/augmented:1:1", "move its files up"),
    ("a skill that is not Markdown", {"skills/x.txt": "hello"}, "skills/x.txt:1:1", "skills are *.md"),
    ("JavaScript", {"tools/x.js": "1"}, "tools/x.js:1:1", "tools are *.py or *.yaml"),
    ("servers in a file of their own", {"mcp/home.yaml": "url: x\n"}, "mcp/home.yaml:1:1", "mcp/servers.yaml"),
    ("servers one floor up", {"servers.yaml": "servers: {}\n", "models/x.yaml": "name: x\n"},
     "servers.yaml:1:1", "MCP servers belong in mcp/servers.yaml"),
    ("the settings twice", {"proxy.yaml": "port: 1\n", "proxy.yml": "port: 2\n"}, "proxy.yml:1:1", "in proxy.yaml"),
    ("an unknown argument", {"proxy.yaml": ONE, "models/m.yaml": prompt('Now: {{get_current_time(timezon="x")}}')},
     "models/m.yaml:4:8", 'has an unknown argument "timezon" (did you mean "timezone"?)'),
    ("a missing argument", {"proxy.yaml": ONE, "models/m.yaml": prompt("{{calculator()}}")},
     "models/m.yaml:4:3", "lacks the argument expression"),
    ("braces never closed", {"proxy.yaml": ONE, "models/m.yaml": prompt("a\nNow: {{get_current_time(")},
     "models/m.yaml:5:8", "is never closed"),
    ("no parentheses", {"proxy.yaml": ONE, "models/m.yaml": prompt("{{ get_current_time }}")},
     "models/m.yaml:4:3", "write {{get_current_time()}}"),
    ("a text without quotes", {"proxy.yaml": ONE, "models/m.yaml": prompt("{{get_current_time(timezone=Berlin)}}")},
     "models/m.yaml:4:3", "text needs quotes"),
    ("Python's words", {"proxy.yaml": ONE, "models/m.yaml": prompt("{{get_current_time(utc=True)}}")},
     "models/m.yaml:4:3", "write true, not True"),
    ("an argument without a name",
     {"proxy.yaml": ONE, "models/m.yaml": prompt('{{get_current_time("Europe/Berlin")}}')},
     "models/m.yaml:4:3", "every argument needs its name"),
    ("a template of Home Assistant", {"proxy.yaml": ONE, "models/m.yaml": prompt("{{ states('sun.sun') | title }}")},
     "models/m.yaml:4:3", "there is no tool states, and Home Assistant's templates do not work here"),
    ("Jinja", {"proxy.yaml": ONE, "models/m.yaml": prompt("{% if is_state('a.b', 'on') %}x{% endif %}")},
     "models/m.yaml:4:3", "is Jinja and stays as text"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "place", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_warning_at_its_place(
    config_directory: ConfigDirectory,
    written: dict[str, str],
    place: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in written.items():
        config_directory.write(name, text)
    if not {"proxy.yaml"} & written.keys():
        config_directory.write("proxy.yaml", ONE)
    (line,) = warned(capsys)
    assert line.startswith(f"{place}: warning: ")
    assert words in line


def test_templates_are_reported_at_their_own_places(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    config_directory.write("proxy.yaml", ONE)
    call = '{{get_current_time(timezon="x")}}'
    config_directory.write("models/m.yaml", prompt(f"{call} {{{{get_current_time( {call}\n{{{{get_current_time(1)}}}}"))
    assert [line.split(" ")[0] for line in warned(capsys)] == [
        "models/m.yaml:4:3:", "models/m.yaml:4:37:", "models/m.yaml:4:57:", "models/m.yaml:5:3:",
    ]  # fmt: skip


FINE = [
    {"proxy.yaml": ONE, "models/m.yaml": "name: m\nupstream_model: home:x\ndeadline: 10\n"},
    {"proxy.yaml": ONE, "models/m.yaml": "name: m\nupstream_model: home:x\ndeadline: 10\ntool_timeout: 9\n"},
    {"proxy.yaml": TWO + "default_connection: a\n"},
    {"proxy.yaml": TWO + 'routing: {"*": a.*}\n'},
    {"proxy.yaml": ONE, "models/m.yaml": "name: m\nupstream_model: llama3:8b\n"},
    {"proxy.yaml": ONE, "models/m.yaml": "name: gpt-5\n", "models/n.yaml": "name: n\nupstream_model: gpt-5\n"},
    {"proxy.yaml": ONE + 'routing: {"home.*": home.x}\n', "models/n.yaml": "name: n\nupstream_model: home.y\n"},
    {"proxy.yaml": "connections:\n  a: {api_key: k, headers: {X-Price: $$USD and $5}}\n"},
    {"proxy.yaml": ONE, "models/m.yaml": prompt("Costs $HOME. {{user}} {{7*7}} {{get_current_time()}}")},
    {"proxy.yaml": ONE, "models/README.md": "x", "skills/LICENSE": "x", "tools/requirements.txt": "x", "ca.pem": "x"},
]


@pytest.mark.parametrize("written", FINE)
def test_a_good_configuration_has_no_warnings(
    config_directory: ConfigDirectory, written: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in written.items():
        config_directory.write(name, text)
    assert warned(capsys) == []


def test_a_warning_beside_a_problem_exits_with_1(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    config_directory.write("proxy.yaml", TWO + "default_connection: c\n")
    assert warned(capsys, 1) == []  # reported once, as a problem
    config_directory.write("models/x.json", "{}")
    assert len(warned(capsys, 1)) == 1


def test_a_key_is_never_in_a_warning(config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    config_directory.write("proxy.yaml", "connections:\n  a: {api_key: secret-$OPENAI_API_KEY-tail}\n")
    (line,) = warned(capsys)
    assert "secret" not in line
    assert "tail" not in line
