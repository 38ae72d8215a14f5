"""The result of a load: one checked, frozen configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from openai_proxy.config.environment import Environment
from openai_proxy.config.files import PythonFile, Unreadable, digest_of, read
from openai_proxy.config.problems import ENVIRONMENT, Problem
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.yaml_text import BrokenYaml, Node

if TYPE_CHECKING:  # imported if there is such a file
    from openai_proxy.config.model_file import ModelConfig
    from openai_proxy.config.servers import ServerConfig
    from openai_proxy.config.skills import SkillFile
    from openai_proxy.config.tool_file import ToolFile

Key = tuple[str, str | None]


@dataclass(slots=True)
class Memory:
    """What the next load needs of this one: the meaning of files (by digest) and what was valid (by file)."""

    environment: Environment | None = None
    parsed: dict[str, tuple[str, Node | BrokenYaml]] = field(default_factory=dict)
    models: dict[str, tuple[str, ModelConfig, SourceOrigin]] = field(
        default_factory=dict
    )  # file -> digest, model, origin
    owners: set[str] = field(default_factory=set)  # the files whose model is used, if two have the same name
    servers: dict[str, tuple[ServerConfig, SourceOrigin]] = field(default_factory=dict)
    skills: dict[str, tuple[str, SkillFile]] = field(default_factory=dict)  # file -> digest, skill
    python: dict[str, PythonFile] = field(default_factory=dict)
    tool_files: dict[str, ToolFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One complete, checked configuration.

    `problems` are what was left out or kept in its last good form; everything else here is valid. `digest` is equal for
    equal files, environment and flags. `watched` are the directories and files whose change triggers a load.
    `tool_files` are the Python files of conf/tools, `declared_tools` its YAML files; `modules` are the Python files
    directly in conf/ (validators, local backends).
    """

    proxy: ProxyConfig
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    servers: Mapping[str, ServerConfig] = field(default_factory=dict)
    skills: tuple[SkillFile, ...] = ()
    tool_files: tuple[PythonFile, ...] = ()
    declared_tools: tuple[ToolFile, ...] = ()
    modules: tuple[PythonFile, ...] = ()
    problems: tuple[Problem, ...] = ()
    digest: str = ""
    config_dir: Path = Path("conf")
    watched: tuple[Path, ...] = ()
    origins: Mapping[Key, SourceOrigin] = field(default_factory=dict, repr=False, compare=False)
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)
    proxy_text: bytes | None = field(default=None, repr=False, compare=False)
    """proxy.yaml as this load found it, if it is valid; None if an earlier form is used."""

    @property
    def has_tools(self) -> bool:
        """True if anything in conf/tools defines tools."""
        return bool(self.tool_files) or any(file.tools for file in self.declared_tools)

    def place(self, kind: str, name: str | None = None, path: tuple[str | int, ...] = ()) -> tuple[str, int, int]:
        """File, line and column (from 1) of a member, for a Problem about it: `Problem(*snapshot.place(...), "...")`.

        `kind` is "proxy" (name None), "model", "server", "skill" (name: its id, or model/id) or "tool" (its file
        name); `path` the keys from there, as in `place("model", "augmented/x", ("tools", 0))`.
        """
        origin = self.origins.get((kind, name))
        return origin.place(path) if origin is not None else (ENVIRONMENT, 1, 1)

    def text_of(self, file: str) -> str:
        """The text of a YAML file as this snapshot read it; empty if it has changed since. Reads the disk."""
        known = self.memory.parsed.get(file)
        try:
            data = read(Path(file))
        except Unreadable:
            return ""
        if data is None or known is None or known[0] != digest_of(data):
            return ""
        return data.decode("utf-8-sig", "replace")
