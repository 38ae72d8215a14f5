"""What a tool is: a definition the model reads, and a call that always answers with text.

Built-in, custom and MCP tools, `load_skill` and the rest are all this one shape, so the agent loop knows no kinds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Progress = Callable[[float | None, float | None, str | None], None]
"""Called with (progress, total, message) as a tool reports; must not block."""


def _silent(progress: float | None, total: float | None, message: str | None) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave: text for the model, and whether that text reports a failure.

    `blocks` and `structured` are the same in MCP's own form, for a client that takes more than text.
    """

    text: str
    is_error: bool = False
    blocks: tuple[dict[str, Any], ...] = ()
    structured: dict[str, Any] | None = None


class Consent(Protocol):
    """Whoever knows whether a person has said yes to a call that needs it (`confirm` of a model)."""

    def given(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """True if the call may run now, and that is used up; False notes that it was asked for."""
        ...


class OwnersConsent:
    """The call is the owner's own: written in a prompt, or clicked on the page."""

    def given(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call may know of the request it serves. `caller` is an opaque identity, never a key.

    `rich`: the caller takes MCP's content blocks beside the text. `device`: Home Assistant's id of the satellite that a
    person speaks to, for its own servers only. `consent`: None where nobody can be asked.
    """

    request_id: str = ""
    caller: str = ""
    progress: Progress = _silent
    meta: dict[str, Any] = field(default_factory=dict)  # handed to MCP servers as `_meta`
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
        """Run it. Errors the model can act on come back as a result with `is_error`; only cancellation is raised."""
        ...
