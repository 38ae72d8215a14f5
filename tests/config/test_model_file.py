"""conf/models/*.yaml: forms, defaults, mistakes."""

from pathlib import Path

import pytest

from openai_proxy.config.model_file import McpFilter
from tests.config.conftest import ConfigDirectory


def test_only_the_name_is_needed(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/m.yml", "name: augmented/m\n")
    model = config_directory.load().models["augmented/m"]
    assert model.upstream_model == "augmented/m"
    assert (model.tools, model.mcp_servers, model.skills) == ((), {}, ())
    assert (model.skills_mode, model.include_global_skills, model.tool_status) == ("inject", True, "chunk")
    assert (model.max_tool_rounds, model.tool_timeout, model.template_timeout, model.deadline) == (10, 60, 3, None)


@pytest.mark.parametrize(
    ("written", "filters"),
    [
        ("[a, b]", {"a": McpFilter(), "b": McpFilter()}),
        ("a, b", {"a": McpFilter(), "b": McpFilter()}),
        ("[a, {b: {blacklist: x*}}]", {"a": McpFilter(), "b": McpFilter(blacklist=("x*",))}),
        ("{a: {whitelist: [y, z]}, b: }", {"a": McpFilter(whitelist=("y", "z")), "b": McpFilter()}),
        ("", {}),
    ],
)
def test_servers_are_named_or_filtered(
    config_directory: ConfigDirectory, written: str, filters: dict[str, McpFilter]
) -> None:
    config_directory.write("mcp/servers.yaml", "servers: {a: {command: x}, b: {command: x}}\n")
    config_directory.write("models/m.yaml", f"name: m\nmcp_servers: {written}\n")
    snapshot = config_directory.load()
    assert snapshot.problems == ()
    assert snapshot.models["m"].mcp_servers == filters


def test_off_is_text_where_it_is_an_allowed_value(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/m.yaml", "name: m\ntool_status: off\n")
    snapshot = config_directory.load()
    assert snapshot.problems == ()
    assert snapshot.models["m"].tool_status == "off"


def test_the_owners_text_is_not_expanded(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "models/m.yaml",
        "name: m\ndescription: ${A}\nsystem_prompt: env:A\nupstream_model: ${A}\n"
        "tools: [{type: function, function: {name: t, description: '$$ ${A}'}}]\n",
    )
    model = config_directory.load(A="a").models["m"]
    assert (model.description, model.system_prompt, model.upstream_model) == ("${A}", "env:A", "a")
    assert model.tools == ({"type": "function", "function": {"name": "t", "description": "$$ ${A}"}},)


WRONG = [
    ("description: x", '1:1: "name" is missing'),
    ("name: no", "1:7: `no` is false to some YAML readers"),
    ("name: 12", "1:7: name: expected text, not a number (put it in quotes if it is text)"),
    ("name: ' m'", "1:7: name: a model name cannot begin or end with a space"),
    ("{name: m, tools: [a, a]}", '1:18: tools: duplicate tool "a"'),
    ("{name: m, tools: ['a b']}", '1:18: tools: "a b" cannot be used as a tool name'),
    ("{name: m, tools: [{name: a}]}", "1:18: tools: expected a name, or {type: function"),
    ("{name: m, mcp_servers: [a, a]}", '1:24: mcp_servers: duplicate MCP server "a"'),
    ("{name: m, mcp_servers: {a: {white: x}}}",
     '1:29: unknown key "white" in mcp_servers.a (did you mean "whitelist"?)'),
    ("{name: m, prompt: x}", '1:11: unknown key "prompt" (did you mean "system_prompt"?)'),
    ("{name: m, max_tool_rounds: 1.5}", "1:28: max_tool_rounds: expected a whole number"),
    ("{name: m, deadline: -1}", "1:21: deadline: must be more than 0"),
    ("{name: m, params: {defaults: {}}}", '1:20: unknown key "defaults" in params (did you mean "default"?)'),
    ("[m]", "1:1: expected a mapping (key: value), not a list"),
    ("name: m\nname: n", '2:1: duplicate key "name" (first in line 1)'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_model_is_reported_in_words_at_its_place(
    config_directory: ConfigDirectory, text: str, words: str
) -> None:
    config_directory.write("models/m.yaml", text + "\n")
    snapshot = config_directory.load()
    assert snapshot.models == {}
    problem, *_ = snapshot.problems
    assert str(problem).partition("m.yaml:")[2].startswith(words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: &a [*a]", "inside its own anchor"),
        (b"\x00\x01\x02binary", "control character"),
        (b"x" * (1 << 20) + b"x", "larger than 1 MiB"),
        (b"x: " + b"[" * 20_000, "nested more than 64 deep"),
        (b"name: m\n" * 2, "duplicate key"),
    ],
)
def test_a_hostile_file_is_a_problem_and_the_rest_serves(
    config_directory: ConfigDirectory, content: bytes, words: str
) -> None:
    config_directory.write("models/good.yaml", "name: good\n")
    first = config_directory.load()
    config_directory.write("models/bad.yaml", content)
    second = config_directory.load(first)
    assert list(second.models) == ["good"]
    problem, *_ = second.problems
    assert words in problem.message


def test_the_place_of_a_tool_is_known(config_directory: ConfigDirectory) -> None:
    path = config_directory.write("models/m.yaml", "name: m\ntools:\n  - calculator\n  - nobody\n")
    snapshot = config_directory.load()
    assert snapshot.place("model", "m", ("tools", 1)) == (str(path), 4, 5)
    assert snapshot.place("model", "m", ("no", "such")) == (str(path), 1, 1)
    assert snapshot.place("model", "stranger") == ("environment", 1, 1)


def test_two_hundred_models_are_read_once(config_directory: ConfigDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit must be live within 400 ms with 200 models, and parsing takes 1.4 each: only the edited one is parsed."""
    from openai_proxy.config import reading

    parsed: list[str] = []
    parse = reading.parse

    def counted(data: bytes, file: str) -> object:
        parsed.append(Path(file).name)
        return parse(data, file)

    monkeypatch.setattr(reading, "parse", counted)
    for n in range(20):
        config_directory.write(f"models/m{n}.yaml", f"name: m{n}\n")
    first = config_directory.load()
    assert len(parsed) == 22  # including proxy.yaml and servers.yaml, which do not exist
    parsed.clear()
    config_directory.write("models/m7.yaml", "name: m7\ndescription: x\n")
    config_directory.load(first)
    assert parsed == ["m7.yaml"]
