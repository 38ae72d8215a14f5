"""What a tool file's entry was turned into."""

from dataclasses import dataclass

from openai_proxy.config.tool_file import Tool
from openai_proxy.tools.handler import Handler


@dataclass(frozen=True, slots=True)
class BuiltTools:
    """The result of one entry, kept so that an unchanged one keeps its handlers."""

    entry: Tool
    digest: str  # of a document
    handlers: tuple[Handler, ...] = ()
    faults: tuple[str, ...] = ()
    waiting: bool = False  # its document has not been fetched yet
