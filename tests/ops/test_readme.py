"""The README: what it shows works as pasted, and what there is stands in it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from openai_proxy.cli.main import COMMANDS, cli
from openai_proxy.config.environment import VARIABLES
from openai_proxy.config.load import load
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.servers import ServerConfig

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n# (conf/\S+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
"""(language, path, text) of every block that begins with the path it belongs at."""

SETTINGS = [text for _, path, text in BLOCKS if path == "conf/proxy.yaml"]


def test_every_yaml_block_says_where_it_belongs() -> None:
    assert len(re.findall(r"^```yaml$", README, re.MULTILINE)) == sum(path.endswith(".yaml") for _, path, _ in BLOCKS)
    assert SETTINGS


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_every_block_works_as_pasted(number: int, tmp_path: Path) -> None:
    """All files of the README in one house (the last of a name wins), with each of its proxy.yaml in turn."""
    for _, path, text in BLOCKS:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(SETTINGS[number] if path == "conf/proxy.yaml" else text)
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", README), "sk-readme-0123456789")
    for name in re.findall(r"\$\{(\w+)\}", README):
        environ[name] = f"sk-readme-{name}"
    used = {name: value for name, value in environ.items() if name.endswith(("TOKEN", "PROXY_KEY"))}
    used |= {name: environ[name] for name in environ if f"${{{name}}}" in SETTINGS[number]}
    snapshot = load(tmp_path / "conf", None, used, {})
    assert [str(problem) for problem in snapshot.problems] == []
    assert {"augmented/homeassistant", "augmented/assistant"} <= set(snapshot.models)


def fields(model: type[BaseModel]) -> Iterator[str]:
    """Every setting of `model` and of the models inside it, as it is written in YAML."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in inside(field.annotation):
            yield from fields(inner)


def inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from inside(argument)


@pytest.mark.parametrize("model", [ProxyConfig, ModelConfig, ServerConfig])
def test_every_setting_is_described(model: type[BaseModel]) -> None:
    described = set(re.findall(r"`([a-z_]+)`", README)) | set(re.findall(r"`\{?([a-z_]+): ", README))
    internal = {"name"} if model is ServerConfig else set()
    assert sorted(set(fields(model)) - internal - described) == []


def test_every_environment_variable_is_described() -> None:
    numbered = re.compile(r"_API_KEY_([2-9]|1[0-9])$")
    assert [row.name for row in VARIABLES if not numbered.search(row.name) and f"`{row.name}`" not in README] == []


def test_every_command_and_flag_is_described() -> None:
    table = README.partition("\n## Commands\n")[2].partition("\n## ")[0]
    assert [name for name in COMMANDS if not re.search(rf"`(openai-proxy )?{name}\b", table)] == []
    serve = cli.get_command(None, "serve")  # type: ignore[arg-type]
    assert serve is not None
    flags = {flag for option in serve.params for flag in option.opts}
    assert [flag for flag in sorted(flags) if flag not in README] == []


def test_every_word_of_make_is_known_to_make() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, env=dict(os.environ))
    words = set(re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE))
    assert {"help", "run", "test", "check", "fix", "bench", "venv", "install", "uninstall"} <= words
    assert set(re.findall(r"`make (\w+)", README)) <= words


def test_the_two_commands_of_the_first_minute_stand_at_the_top() -> None:
    top = README.partition("\n## Home Assistant")[0]
    assert "make run" in top
    assert '"model": "echo"' in top
    assert '"model": "augmented/example"' in top
