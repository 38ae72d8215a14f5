"""Where a part of the configuration is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from openai_proxy.config.yaml_text import Node

Path = tuple[str | int, ...]
Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class SourceOrigin:
    """A file, and its node under `path`. `overlaid` are members set elsewhere (by a variable, a flag)."""

    file: str
    node: Node | None = None
    path: Path = ()
    overlaid: Mapping[Path, Place] = field(default_factory=dict)

    def place(self, path: Path = (), *, key: bool = False) -> Place:
        """File, line and column (from 1) of the value at `path`, or of its nearest existing ancestor.

        With `key`, those of the key rather than of its value.
        """
        for length in range(len(path), 0, -1) if self.overlaid else ():
            if path[:length] in self.overlaid:
                return self.overlaid[path[:length]]
        if self.node is None:
            return self.file, 1, 1
        return self.file, *self.node.find((*self.path, *path), key=key)
