"""The starter configuration: generated from one source, valid, with every setting."""

import re
from pathlib import Path

import pytest

from openai_proxy.cli.init import STARTER, starter_files
from openai_proxy.config.environment import VARIABLES
from openai_proxy.config.load import load
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.servers import ServerConfig
from tests.config.conftest import ConfigDirectory

ROOT = Path(__file__).parents[2]


def test_the_conf_of_the_repository_is_what_init_writes() -> None:
    wanted = starter_files()
    for name, content in wanted.items():
        assert (ROOT / "conf" / name).read_bytes() == content, f"copy it: conf/{name}"
    there = {p.relative_to(ROOT / "conf").as_posix() for p in (ROOT / "conf").rglob("*") if p.is_file()}
    assert {name for name in there if "__pycache__" not in name} == set(wanted)


def test_the_starter_is_valid_and_serves_offline(config_directory: ConfigDirectory) -> None:
    snapshot = load(STARTER, None, {})
    assert snapshot.problems == ()
    assert list(snapshot.proxy.connections) == ["echo"]
    model = snapshot.models["augmented/example"]
    assert (model.upstream_model, model.tools) == ("echo", ("get_current_time", "calculator"))
    assert [(s.id, s.model) for s in snapshot.skills] == [("plain-speech", "augmented/example")]
    assert [f.path.name for f in snapshot.tool_files] == ["dice.py"]


def test_commented_out_settings_are_valid(config_directory: ConfigDirectory) -> None:
    text = (STARTER / "proxy.yaml").read_text(encoding="utf-8")
    lines = [re.sub(r"^# ?", "", line) for line in text.splitlines()]
    kept = [
        line
        for line in lines
        if re.match(r'(?: *[\w"][^ ]*: ?| *- class: | *#)', line) and "api_type local" not in line
    ]
    start = next(i for i, line in enumerate(kept) if line.startswith("host:"))
    config_directory.write("proxy.yaml", "\n".join(kept[start:]) + "\n")
    snapshot = config_directory.load(OPENROUTER_API_KEY="k-one", ANTHROPIC_API_KEY="k-two")
    assert snapshot.problems == ()
    assert set(snapshot.proxy.connections) == {"openrouter", "anthropic", "ollama"}
    assert set(snapshot.proxy.routing) == {"claude*", "fast", "quick", "smart", "*"}


@pytest.mark.parametrize(
    ("file", "model"),
    [("proxy.yaml", ProxyConfig), ("models/example.yaml", ModelConfig), ("mcp/servers.yaml", ServerConfig)],
)
def test_every_setting_is_shown(file: str, model: type[ProxyConfig | ModelConfig | ServerConfig]) -> None:
    text = (STARTER / file).read_text(encoding="utf-8")
    shown = set(re.findall(r"(?m)^[# ]*([a-z_]+):", text))
    missing = {info.alias or name for name, info in model.model_fields.items()} - shown
    assert missing <= {"name", "enabled", "cwd", "whitelist"}


def test_the_example_environment_lists_every_variable() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]*)=", text))
    unnumbered = {row.name for row in VARIABLES if not re.search(r"_(?:[3-9]|\d\d)$", row.name)}
    assert shown == unnumbered


def test_the_unchanged_example_environment_sets_nothing(config_directory: ConfigDirectory) -> None:
    config_directory.write(".env", (ROOT / ".env.example").read_bytes())
    snapshot = config_directory.load()
    assert snapshot.problems == ()
    assert list(snapshot.proxy.connections) == ["echo"]


def test_every_starter_yaml_names_its_schema() -> None:
    for name, content in starter_files().items():
        if name.endswith(".yaml"):
            found = re.match(rb"# yaml-language-server: \$schema=(\S+)\n", content)
            assert found is not None, name
            target = (ROOT / "conf" / name).parent / found[1].decode()
            assert target.resolve().is_relative_to(ROOT / "conf" / ".schemas")
            assert target.is_file()
