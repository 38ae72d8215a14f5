"""What a load gives: one checked and frozen configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai_proxy.config.problems import ENVIRONMENT, Problem
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.yaml_text import Node


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a thing is written: a file, and the node of it under `path`."""

    file: str
    node: Node | None = None
    path: tuple[str | int, ...] = ()

    def place(self, path: tuple[str | int, ...], *, key: bool = False) -> tuple[str, int, int]:
        """File, line and column of what stands at `path` below it (or of the nearest thing above that exists)."""
        if self.node is None:
            return self.file, 1, 1
        return self.file, *self.node.find((*self.path, *path), key=key)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One configuration, whole and checked.

    `problems` are what was left out or kept in an older form; the rest is sound. `digest` is equal for equal
    configurations (files, environment and flags).
    """

    proxy: ProxyConfig
    models: Mapping[str, Any] = field(default_factory=dict)
    servers: Mapping[str, Any] = field(default_factory=dict)
    skills: tuple[Any, ...] = ()
    tool_files: tuple[Any, ...] = ()
    problems: tuple[Problem, ...] = ()
    digest: str = ""
    config_dir: Path = Path("conf")
    watched: tuple[Path, ...] = ()
    origins: Mapping[tuple[str, str | None], Origin] = field(default_factory=dict, repr=False)
    memory: Any = field(default=None, repr=False, compare=False)

    def place(self, kind: str, name: str | None = None, path: tuple[str | int, ...] = ()) -> tuple[str, int, int]:
        """File, line and column (from 1) of a member, for a Problem about it.

        `kind` is "proxy" (name None), "model", "server", "skill" or "tool"; `path` the keys from there, as in
        `place("model", "augmented/x", ("tools", 0))`.
        """
        origin = self.origins.get((kind, name))
        return origin.place(path) if origin is not None else (ENVIRONMENT, 1, 1)
