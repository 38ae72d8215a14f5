"""What the writer of an answer to Ollama's API has to know of the request."""

from dataclasses import dataclass, field
from typing import Any, Literal

from openai_proxy.dialects.tool_names import ToolNames


@dataclass(frozen=True, slots=True)
class OllamaDetails:
    """`kind`: the endpoint. `thinking`: whether thoughts are shown. `names`: of the tools.

    `memory`: the conversation that a request to generate carried; its answer carries it on.
    """

    kind: Literal["chat", "generate"]
    thinking: bool = True
    names: ToolNames = field(default_factory=ToolNames)
    memory: tuple[dict[str, Any], ...] = ()
