"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _default_config_dir() -> Path:
    """`conf`, or the directory in MODELS_CONFIG_DIR, unless that only has model files (see `config.load`)."""
    named = Path(os.environ.get("MODELS_CONFIG_DIR") or "conf")
    inside = ("proxy.yaml", "models", "mcp")
    return named if any((named / name).exists() for name in inside) else Path("conf")


def config_dir(command: F) -> F:
    """`--config-dir DIR`: every command that reads or writes conf/ takes it."""
    return click.option(
        "--config-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=_default_config_dir,
        help="Directory with proxy.yaml, models/, mcp/, skills/ and tools/ (default: conf).",
    )(command)


def default_state_dir(config: Path) -> Path:
    """The default state directory: systemd's, else `.state` beside conf/."""
    from_systemd = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(from_systemd) if from_systemd else config.absolute().parent / ".state"


def state_dir(command: F) -> F:
    """`--state-dir DIR`: the directory with the running daemon's control socket. To be placed below `config_dir`."""
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        callback=lambda context, _, given: given or default_state_dir(context.params["config_dir"]),
        help="The daemon's state directory (default: $STATE_DIRECTORY, else .state beside conf/).",
    )(command)
