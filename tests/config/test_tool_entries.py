"""conf/tools/*.yaml: forms, and every mistake at its line."""

import pytest

from openai_proxy.config.tool_file import CommandAction, DeclaredTool, HttpAction, OpenApiSource
from openai_proxy.secrets import vault
from tests.config.conftest import ConfigDirectory

PARAMETERS = "parameters: {type: object, properties: {city: {type: string}, n: {type: integer}}}"


def problems(config_directory: ConfigDirectory, text: str, **environ: str) -> list[str]:
    """The problems of a file with this text, without its name."""
    config_directory.write("tools/t.yaml", text)
    return [str(problem).rpartition("t.yaml:")[2] for problem in config_directory.load(**environ).problems]


def test_one_tool_or_a_list_of_all_kinds(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "tools/one.yaml", f"name: one\n{PARAMETERS}\nhttp: {{url: 'http://ha.local/x/{{city}}?n={{n}}'}}\n"
    )
    config_directory.write("api.json", '{"openapi": "3.1.0", "paths": {}}')
    config_directory.write(
        "tools/two.yml",
        "- name: two\n  command: [echo, 1.10, --x]\n"
        "- {name: three, http: {url: 'https://example.com', json: {a: 1}}}\n- openapi: api.json\n",
    )
    snapshot = config_directory.load()
    assert snapshot.problems == ()
    one, two = snapshot.declared_tools
    (tool,) = one.tools
    assert isinstance(tool, DeclaredTool)
    assert isinstance(tool.action, HttpAction)
    assert (tool.action.method, tool.action.private) == ("GET", True)
    command, post, api = two.tools
    assert isinstance(command, DeclaredTool)
    assert isinstance(command.action, CommandAction)
    assert [word.sample() for word in command.action.command] == ["echo", "1.10", "--x"]
    assert isinstance(post, DeclaredTool)
    assert isinstance(post.action, HttpAction)
    assert (post.action.method, post.action.private) == ("POST", False)
    assert isinstance(api, OpenApiSource)
    assert api.source == str(config_directory.conf / "api.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\n", "1:1: a tool needs exactly one of http, command and openapi; this one has none"),
        ("name: a\nhtp: {url: 'http://x/'}\n", 'none (did you mean "http"?)'),
        ("- just text\n", "1:3: expected a tool"),
        ("", "1:1: the file is empty"),
        ("name: a\nhttp:\n  url: http://x/{city}\n", "3:8: {city}: parameters.properties has no city"),
        (f"name: a\n{PARAMETERS}\nhttp: {{url: 'http://x/', query: {{q: '{{cty}}'}}}}\n", '(did you mean "city"?)'),
        (f"name: a\n{PARAMETERS}\nhttp:\n  url: http://x{{city}}/\n", "4:8: an argument must not choose the host"),
        (f"name: a\n{PARAMETERS}\nhttp:\n  url: 'http://x:8{{n}}/'\n", "an argument must not choose the host"),
        (f"name: a\n{PARAMETERS}\nhttp:\n  url: '{{city}}'\n", "an argument must not choose the host"),
        ("name: a\nhttp: {url: 'ftp://x/'}\n", "expected a URL that begins with http"),
        ("name: a\nhttp: {url: 'http://u:p@x/'}\n", "cannot carry a name or password"),
        ("name: a\nhttp: {url: 'http://x/', headers: {Host: y}}\n", "the header Host is set by the proxy itself"),
        ("name: a\nhttp: {url: 'http://x/', headers: {'a: b': y}}\n", "cannot be used as the name of an HTTP header"),
        ("name: a\nhttp: {url: 'http://x/', json: {}, body: x}\n", "json and body are mutually exclusive"),
        ("name: a\nhttp: {url: 'http://x/', method: LOOK}\n", "expected GET, HEAD, POST"),
        (f"name: a\n{PARAMETERS}\ncommand: ['{{city}}', x]\n", "an argument must not choose the program"),
        ("name: a\ncommand: [ls -l]\n", "the first entry is only the program"),
        ("name: a\ncommand: []\n", "expected a program and its arguments"),
        ("name: a b\ncommand: [x]\n", "cannot be used as a tool name"),
        ("name: a\ncommand: [x]\nhttp: {url: 'http://x/'}\n", "this one has both http and command"),
        ("openapi: nowhere.json\n", "there is no file nowhere.json"),
        ("openapi: http://x/y\nname: z\n", 'unknown key "name"'),
        ("name: a\nhttp: {url: '${NOPE}/x'}\n", "the environment variable NOPE is not set, so this tool is left out"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_at_their_line(config_directory: ConfigDirectory, text: str, said: str) -> None:
    told = problems(config_directory, text)
    assert len(told) == 1
    assert said in told[0]


def test_variables_work_in_url_headers_and_command_and_nowhere_else(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "tools/t.yaml",
        "- {name: a, http: {url: '${BASE}/x', headers: {Authorization: 'Bearer ${MY_TOKEN}'}, body: '${BASE}'}}\n"
        "- {name: b, command: [echo, '${BASE}'], stdin: '${BASE}'}\n",
    )
    (file,) = config_directory.load(BASE="http://h.lan", MY_TOKEN="tok{en}-123456").declared_tools
    a, b = (tool.action for tool in file.tools if isinstance(tool, DeclaredTool))
    assert isinstance(a, HttpAction)
    assert a.url.sample() == "http://h.lan/x"
    assert a.headers[0][1].parts == ("Bearer tok{en}-123456",)
    assert a.body is not None
    assert a.body.parts == ("${BASE}",)
    assert isinstance(b, CommandAction)
    assert b.command[1].parts == ("http://h.lan",)
    assert "tok{en}-123456" in vault.known()


def test_a_broken_entry_keeps_its_last_good_form_and_the_others_change(config_directory: ConfigDirectory) -> None:
    config_directory.write("tools/t.yaml", "- {name: a, command: [one]}\n- {name: b, command: [one]}\n")
    first = config_directory.load()
    config_directory.write("tools/t.yaml", "- {name: a, command: []}\n- {name: b, command: [two]}\n")
    second = config_directory.load(first)
    assert len(second.problems) == 1
    actions = [tool.action for tool in second.declared_tools[0].tools if isinstance(tool, DeclaredTool)]
    assert [a.command[0].sample() for a in actions if isinstance(a, CommandAction)] == ["one", "two"]
    config_directory.write("tools/t.yaml", "- {name: a, command: [")
    assert config_directory.load(second).declared_tools[0].tools == second.declared_tools[0].tools


def test_a_local_document_is_part_of_the_digest(config_directory: ConfigDirectory) -> None:
    config_directory.write("api.json", "{}")
    config_directory.write("tools/t.yaml", "openapi: api.json\n")
    first = config_directory.load()
    config_directory.write("api.json", '{"a": 1}')
    assert config_directory.load(first).digest != first.digest
