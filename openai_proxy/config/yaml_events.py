"""The events of a YAML text, using only ruamel.yaml's scanner and parser.

Its package file imports loaders, dumpers and everything they construct (0.8 MB that is not needed here); `serve` defers
that, see `cli.lean`. Scanner and parser expect a loader, of which only this much is needed.
"""

from collections.abc import Iterator
from typing import Any

from ruamel.yaml.docinfo import DocInfo
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner

YAML_VERSION = (1, 2)
"""The YAML version of a text without a %YAML directive."""


class _Loader:
    """Stands in for `ruamel.yaml.YAML(typ="safe", pure=True)`, as its reader, scanner and parser see it."""

    typ = ("safe",)
    comment_handling = None

    def __init__(self, text: str) -> None:
        self.tags: dict[str, str] | None = {}
        self.version: tuple[int, int] | None = None
        self.doc_infos = [DocInfo()]
        self.resolver = self
        self.reader = Reader(text, loader=self)
        self.scanner = Scanner(loader=self)
        self.parser = Parser(loader=self)

    @property
    def processing_version(self) -> tuple[int, int]:
        return self.scanner.yaml_version or YAML_VERSION


def events(text: str) -> Iterator[Any]:
    """The events one by one, as far as `text` is valid YAML. Raises what ruamel.yaml raises."""
    parser = _Loader(text).parser
    while parser.check_event():
        yield parser.get_event()
