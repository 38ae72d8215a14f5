"""What a tool is: a definition for the model, and a call that always returns text.

Built-in, custom and MCP tools, `load_skill` and the rest all have this interface, so the agent loop need not
distinguish them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Progress = Callable[[float | None, float | None, str | None], None]
"""Called with (progress, total, message) when a tool reports progress; must not block."""


def _silent(progress: float | None, total: float | None, message: str | None) -> None:
    """Ignores progress."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call: text for the model, and whether that text reports a failure.

    `blocks` and `structured` are the same in MCP's own form, for clients that accept more than text.
    """

    text: str
    is_error: bool = False
    blocks: tuple[dict[str, Any], ...] = ()
    structured: dict[str, Any] | None = None


class Consent(Protocol):
    """Knows whether a person has agreed to a call that needs consent (`confirm` of a model)."""

    def given(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """True if the call may run now, which uses up the consent; False records that it was requested."""
        ...


class OwnersConsent:
    """The owner's own call: written in a prompt, or clicked on the page."""

    def given(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call may know of its request. `caller` is an opaque identity, never a key.

    `rich`: the caller accepts MCP's content blocks beside the text. `device`: Home Assistant's id of the satellite
    being spoken to, for Home Assistant's own servers only. `consent`: None if nobody can be asked.
    """

    request_id: str = ""
    caller: str = ""
    progress: Progress = _silent
    meta: dict[str, Any] = field(default_factory=dict)  # sent to MCP servers as `_meta`
    rich: bool = False
    consent: Consent | None = None
    device: str = ""


class Tool(Protocol):
    """One callable tool. Implementations are immutable and live as long as their generation."""

    @property
    def name(self) -> str:
        """The name the model sees: `[a-zA-Z0-9_-]{1,64}`."""
        ...

    @property
    def definition(self) -> dict[str, Any]:
        """The OpenAI function tool: {"type": "function", "function": {"name", "description", "parameters"}}."""
        ...

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """Run it. Errors that the model can act on are results with `is_error`; only cancellation is raised."""
        ...
