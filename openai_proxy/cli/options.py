"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _default_config_dir() -> Path:
    """`conf`, or what MODELS_CONFIG_DIR names, unless that is a mere directory of model files (config.load's then)."""
    named = Path(os.environ.get("MODELS_CONFIG_DIR") or "conf")
    inside = ("proxy.yaml", "models", "mcp")
    return named if any((named / name).exists() for name in inside) else Path("conf")


def config_dir(command: F) -> F:
    """`--config-dir DIR`: every command that reads or writes conf/ takes it."""
    return click.option(
        "--config-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=_default_config_dir,
        help="Where proxy.yaml, models/, mcp/, skills/ and tools/ are (default: conf).",
    )(command)


def default_state_dir(config: Path) -> Path:
    """Where state is kept if nobody says: systemd's directory, else `.state` beside conf/."""
    from_systemd = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(from_systemd) if from_systemd else config.absolute().parent / ".state"


def state_dir(command: F) -> F:
    """`--state-dir DIR`: where the running daemon's control socket is."""
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The daemon's state directory (default: $STATE_DIRECTORY, else .state beside conf/).",
    )(command)
