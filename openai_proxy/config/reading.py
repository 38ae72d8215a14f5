"""One pass over conf/: what was read, its meaning and its problems; remembered for the next pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from openai_proxy.config import files
from openai_proxy.config.environment import Environment
from openai_proxy.config.files import Unreadable, digest_of
from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Key, Memory
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.yaml_text import BrokenYaml, Node, parse

if TYPE_CHECKING:
    from openai_proxy.config.model_file import ModelConfig


class LoadState:
    """The state of one load. `before` is what the last one remembered; `memory` what this one will."""

    def __init__(self, config_dir: Path, environment: Environment, before: Memory | None) -> None:
        self.config_dir = config_dir
        self.environment = environment
        self.first = before is None
        self.before = before or Memory()
        self.memory = Memory(environment)
        self.problems: list[Problem] = []
        self.origins: dict[Key, SourceOrigin] = {}
        self.broken_skills: set[str] = set()
        self.proxy_text: bytes | None = None  # proxy.yaml, if it is valid
        self.salvaged: dict[str, tuple[ModelConfig, SourceOrigin]] = {}
        """Models without the mistakes in them, used only to look for more of these."""
        before_environment = self.before.environment
        self.same_variables = before_environment is not None and before_environment.variables == environment.variables
        """True if no variable has changed, so that files mean what they meant before."""
        self._digests: list[tuple[str, str]] = []

    def report(self, path: Path, message: str) -> None:
        """Report a problem with a file as a whole."""
        self.problems.append(Problem(str(path), 1, 1, message))

    def note(self, path: Path, data: bytes) -> str:
        """The digest of `data`, which becomes part of the snapshot's."""
        digest = digest_of(data)
        self._digests.append((str(path), digest))
        return digest

    def read(self, path: Path, empty: str) -> Node | BrokenYaml | None:
        """The root node of a file of a directory, or None if it has vanished since the listing.

        A file that cannot be used is a BrokenYaml and reported; an empty one is reported as `empty`.
        """
        try:
            data = files.read(path)
        except Unreadable as error:
            self.report(path, str(error))
            return BrokenYaml(())
        if data is None:
            return None
        node = self.parse(path, data)
        if isinstance(node, BrokenYaml):
            self.problems += node.problems
        elif node.value is None:
            self.report(path, empty)
            return BrokenYaml(())
        return node

    def parse(self, path: Path, data: bytes) -> Node | BrokenYaml:
        """The root node of a YAML file, reused from the last load if its bytes are the same."""
        name, digest = str(path), self.note(path, data)
        known = self.before.parsed.get(name)
        node = known[1] if known is not None and known[0] == digest else parse(data, name)
        self.memory.parsed[name] = (digest, node)
        return node

    def digest(self, flags: Mapping[str, object]) -> str:
        """SHA-256 of everything that was read."""
        what = (sorted(self._digests), sorted(self.environment.variables.items()), sorted(map(str, flags.items())))
        return hashlib.sha256(json.dumps(what).encode("utf-8", "surrogatepass")).hexdigest()
