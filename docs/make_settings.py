"""Write docs/settings.md from the program itself: `python docs/make_settings.py` (or `make docs`).

Every setting of every file, every environment variable, every command with its options. A test tells when the page is
old.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from openai_proxy.cli.main import COMMANDS, cli
from openai_proxy.config.environment import NUMBERED, VARIABLES
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.servers import ServerConfig
from openai_proxy.config.skills import SkillYaml
from openai_proxy.config.tool_file import CommandToolConfig, HttpToolConfig, OpenApiToolsConfig

PAGE = Path(__file__).parent / "settings.md"

HEAD = """\
# Every setting

<!-- Written by docs/make_settings.py: edit the descriptions in the program, then `make docs`. -->

Everything is optional unless it says *required*. Durations are seconds; `null` is "no limit" where that makes sense.
`${NAME}`, `${NAME:-default}` and `env:NAME` take a value from the environment or `.env`; `$$` is a literal `$`. Editors
that understand the `# yaml-language-server: $schema=` line of the starter files complete and check it as you type.
"""

FILES: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("conf/proxy.yaml", ProxyConfig, "Global settings."),
    ("conf/models/NAME.yaml", ModelConfig, "One augmented model each."),
    ("conf/mcp/servers.yaml", ServerConfig, "Each of `servers:`, by name."),
    ("conf/tools/NAME.yaml: a request", HttpToolConfig, "A file holds one tool, or a list of tools of any kind."),
    ("conf/tools/NAME.yaml: a command", CommandToolConfig, "A program, run without a shell."),
    ("conf/tools/NAME.yaml: an OpenAPI document", OpenApiToolsConfig, "Each operation is one tool."),
    ("conf/skills/NAME.yaml", SkillYaml, "A skill as YAML; `NAME.md` and `NAME/SKILL.md` need no settings."),
)
HIDDEN = {(ServerConfig, "name")}

VARIABLE_WORDS = {
    "BASE_URL": "base URL of the connection `default` (without it OpenRouter's)",
    "API_KEY": "key of the connection `default`",
    "HOST": "`host`",
    "PORT": "`port`",
    "MODELS_CONFIG_DIR": "where `conf/`, or its model files, are",
    "REQUEST_TIMEOUT": "`first_byte` and `idle` of every connection",
    "PROXY_API_KEYS": "client keys of the group `default` (commas or JSON)",
    "PROXY_FORWARD_AUTH_HEADER": "`forward_auth` of `openai` and `default`",
    "LLM_BACKEND": "`default_connection`",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for file, model, words in FILES:
        parts.append(f"## {file}\n\n{words}\n")
        parts += _tables(model, "", set())
    parts += ["## Environment\n", ENVIRONMENT, _variables()]
    parts += ["## Commands\n", COMMAND_WORDS, *_commands()]
    return "\n".join(parts).rstrip("\n") + "\n"


ENVIRONMENT = """\
Read from the process and from `.env`. A variable wins over the file, a flag over both. Without `connections:` in the
file, provider variables make connections; with it, they override the key and the base of the connection of that name.
"""
COMMAND_WORDS = "`openai-proxy COMMAND --help` prints the same. Without a command the daemon runs, as with `serve`.\n"


def _tables(model: type[BaseModel], path: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    seen.add(model)
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    inner: list[tuple[str, type[BaseModel], bool]] = []
    for name, field in model.model_fields.items():
        if (model, name) in HIDDEN:
            continue
        key = field.alias or name
        nested = next(_models_in(field.annotation), None)
        each = get_origin(_bare(field.annotation)) in (dict, tuple) and nested is not None
        if nested is not None and nested not in seen:
            inner.append((f"{path}{key}", nested, each))
        rows.append(f"| `{key}` | {_default(field)} | {_meaning(field)} |")
    yield "\n".join(rows) + "\n"
    for where, nested, each in inner:
        if nested in seen:
            continue
        yield f"### {'Each of ' if each else ''}`{where}`\n\n{_first_line(nested)}\n"
        yield from _tables(nested, f"{where}.", seen)


def _bare(annotation: Any) -> Any:
    """An annotation without what is optional about it."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) and len(options) == 1 else annotation


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in (None, "", (), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`" if value != ("*",) else '`"*"`'
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    words = (field.description or "").replace("|", "\\|")
    choices = [str(choice) for choice in _choices(field.annotation)]
    missing = [choice for choice in choices if not re.search(rf"\b{re.escape(choice)}\b", words)]
    if len(choices) > 1 and missing:
        words += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    return words


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is not dict:
        for argument in get_args(annotation):
            yield from _choices(argument)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")


def _variables() -> str:
    rows = ["| variable | sets |", "|---|---|"]
    for row in VARIABLES:
        if re.search(r"_([2-9]|1\d|20)$", row.name):
            continue
        name = f"`{row.name}`" + (f" … `{row.name.removesuffix('1')}{NUMBERED}`" if row.name.endswith("_1") else "")
        path = ".".join(row.setting)
        owner = f" of the connection `{row.provider}`" if row.provider is not None else ""
        rows.append(f"| {name} | {VARIABLE_WORDS.get(row.name) or f'`{path}`{owner}'} |")
    return "\n".join(rows) + "\n"


def _commands() -> Iterator[str]:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        yield from _command(f"openai-proxy {name}", command)


def _command(path: str, command: click.Command) -> Iterator[str]:
    arguments = "".join(
        f" [{p.make_metavar(click.Context(command))}]"
        if not p.required
        else f" {p.make_metavar(click.Context(command))}"
        for p in command.params
        if isinstance(p, click.Argument)
    )
    help_text = (command.help or "").partition("\n\n")[0].replace("\n", " ")
    yield f"### `{path}{arguments.replace('[[', '[').replace(']]', ']')}`\n\n{help_text}\n"
    options = [p for p in command.params if isinstance(p, click.Option)]
    if options:
        rows = ["| option | meaning |", "|---|---|"]
        rows += [f"| `{'`, `'.join([*p.opts, *p.secondary_opts])}` | {_option(p)} |" for p in options]
        yield "\n".join(rows) + "\n"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(f"{path} {name}", inner)


def _option(option: click.Option) -> str:
    words = (option.help or "").replace("|", "\\|")
    if isinstance(option.type, click.Choice):
        words += f" One of {', '.join(f'`{choice}`' for choice in option.type.choices)}."
    return words.strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
