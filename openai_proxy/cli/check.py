"""`openai-proxy check`: is the configuration right? One line per problem, exit 0 or 1."""

import importlib
import os
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import click

from openai_proxy.cli.options import config_dir as config_dir_option
from openai_proxy.cli.options import state_dir as state_dir_option
from openai_proxy.cli.screen import say
from openai_proxy.config.files import directory_trouble
from openai_proxy.config.load import load
from openai_proxy.config.problems import ConfigError, Problem
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.config.warnings import is_warning, warnings

DEEPER: tuple[str, ...] = (
    "openai_proxy.runtime.checking:models",
    "openai_proxy.runtime.checking:loggers",
    "openai_proxy.runtime.checking:validator",
)
"""Checks that need more than the files, as `module:function` (Snapshot -> problems): tools, templates, validators."""

PROBES: tuple[str, ...] = tuple(
    f"openai_proxy.cli.probe:{name}" for name in ("connections", "servers", "documents", "storage")
)
"""What `--connect` tries, as `module:function`: async, Snapshot -> (name, problem or None)."""

Check = Callable[[Snapshot], Iterable[Problem]]
Probe = Callable[[Snapshot], Coroutine[Any, Any, list[tuple[str, Problem | None]]]]


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@click.command("check")
@config_dir_option
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables (optional).")
@click.option("--connect", is_flag=True, help="Also try every connection, MCP server and the store.")
@state_dir_option
def command(config_dir: Path, env_file: Path, connect: bool, state_dir: Path) -> int:
    """Read and validate everything under --config-dir without serving."""
    wrong_directory = directory_trouble(config_dir, empty_is_fine=False)
    if wrong_directory is not None:
        return _report([Problem(str(config_dir), 1, 1, wrong_directory)])
    try:
        snapshot = load(config_dir, env_file, os.environ)
    except ConfigError as error:
        return _report(error.problems)
    problems = list(snapshot.problems)
    for path in DEEPER:
        check: Check = _named(path)
        problems += check(snapshot)
    if connect:
        problems += _connect(snapshot)
        _learnt(snapshot, state_dir)
    _report([*warnings(snapshot), *filter(is_warning, problems)])
    problems = [problem for problem in problems if not is_warning(problem)]
    if problems:
        return _report(problems)
    numbers = {
        "connection": len(snapshot.proxy.connections),
        "model": len(snapshot.models),
        "MCP server": len(snapshot.servers),
        "skill": len(snapshot.skills),
        "tool file": len(snapshot.tool_files) + len(snapshot.declared_tools),
    }
    found = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for name, number in numbers.items())
    say(f"{config_dir} is fine: {found}")
    return 0


def _report(problems: Iterable[Problem]) -> int:
    for problem in problems:
        # A file name may contain bytes that are not text.
        say(problem)
    return 1


def _learnt(snapshot: Snapshot, state_dir: Path) -> None:
    """Print what the models of each connection have refused so far."""
    from openai_proxy.upstream.lessons import LESSONS, LessonTable

    table = LessonTable(state_dir / LESSONS)
    for name, connection in snapshot.proxy.connections.items():
        for model, words in table.of(name, connection.api_base or "").as_text().items():
            say(f"connection {name}{f', model {model}' if model else ''}: {words}", err=True)


def _connect(snapshot: Snapshot) -> list[Problem]:
    import asyncio

    problems: list[Problem] = []
    for path in PROBES:
        probe: Probe = _named(path)
        for name, problem in asyncio.run(probe(snapshot)):
            if problem is None:
                say(f"{name}: answers", err=True)
            else:
                problems.append(problem)
    return problems
