"""One pass over conf/: what was read, what it means, what is wrong; remembered for the next pass."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from openai_proxy.config.environment import Environment
from openai_proxy.config.files import digest_of
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Key, Memory
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.yaml_text import BrokenYaml, Node, parse


class Reading:
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
        self.proxy_text: bytes | None = None  # proxy.yaml, if it is sound
        self.salvaged: dict[str, tuple[ModelConfig, SourceOrigin]] = {}
        """Models as they would be without the mistakes in them: only to look for more of these."""
        before_environment = self.before.environment
        self.same_variables = before_environment is not None and before_environment.variables == environment.variables
        """True if no variable changed since: what a file meant then, it means now."""
        self._digests: list[tuple[str, str]] = []

    def tell(self, path: Path, message: str) -> None:
        """A problem with a file as a whole."""
        self.problems.append(Problem(str(path), 1, 1, message))

    def note(self, path: Path, data: bytes) -> str:
        """The digest of `data`, which counts for the snapshot's."""
        digest = digest_of(data)
        self._digests.append((str(path), digest))
        return digest

    def parse(self, path: Path, data: bytes) -> Node | BrokenYaml:
        """The root node of a YAML file; from the last load where its bytes are the same."""
        name, digest = str(path), self.note(path, data)
        known = self.before.parsed.get(name)
        node = known[1] if known is not None and known[0] == digest else parse(data, name)
        self.memory.parsed[name] = (digest, node)
        return node

    def digest(self, flags: Mapping[str, object]) -> str:
        """SHA-256 of all that was read."""
        what = (sorted(self._digests), sorted(self.environment.variables.items()), sorted(map(str, flags.items())))
        return hashlib.sha256(json.dumps(what).encode("utf-8", "surrogatepass")).hexdigest()
