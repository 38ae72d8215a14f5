"""What one augmented answer is made from. Everything is handed in; the agent fetches nothing by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from openai_proxy.agent.store import TurnStore
from openai_proxy.agent.thinkers import Thinking, ThinkingMemory
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.tools.base import CallContext, Consent, Tool, ToolResult

Ask = Callable[[dict[str, Any]], Awaitable[UpstreamResponse]]
"""Sends one chat request body upstream and returns when the answer's head has come, whatever its status.

Raises ProxyError where no answer came. Retries and failover of the first request are its business, and so is sending
later requests of the same turn to the connection and key that answered the first: reasoning items and signatures are
the provider's own. Cancelling it must let go of the connection.
"""


class TurnToolbox(Protocol):
    """The tools of one request (tools/toolbox.py)."""

    def definitions(self) -> list[dict[str, Any]]:
        """The function tools in a stable order."""
        ...

    def get(self, name: str) -> Tool | None:
        """The tool called exactly `name`."""
        ...

    async def run(
        self, name: str, arguments: str, context: CallContext | None = None, *, timeout: float = 60.0
    ) -> ToolResult:
        """One call from the text of its arguments to a bounded, scrubbed result; only cancellation is raised."""
        ...


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How the loop behaves; the first eight have the names and defaults of a model file's keys. Times in seconds."""

    tool_status: str = "chunk"  # chunk | reasoning | off
    reasoning: str = "pass"  # pass | strip
    remember_tool_turns: bool = False
    max_tool_rounds: int = 10
    tool_timeout: float = 60.0
    deadline: float | None = None
    speech: bool = False
    client_tools: str = "pass"  # pass | prefer | drop
    concurrency: int = 8  # calls of one turn that run side by side
    same_call_limit: int = 3  # runs of one call with the same arguments in one turn
    heartbeat: float = 5.0  # Home Assistant's clients wait 90 s at least; browsers' proxies cut at 30 to 60 s

    @classmethod
    def of(cls, model: object) -> "LoopSettings":
        """The settings that `model` (a ModelConfig) has, defaults for the rest."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: getattr(model, name) for name in names if hasattr(model, name)})


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of one of our tools, finished: what the chat log writes. `status` is "ok" or "error"."""

    id: str
    tool: str
    arguments: str
    result: str
    status: str
    seconds: float


class Observer(Protocol):
    """Whoever follows a turn: the record, the list of running requests. Must not block."""

    def state(self, state: str) -> None:
        """The turn is now "waiting" for the provider, "streaming" or running "tools"."""
        ...

    def tool_call(self, record: CallRecord) -> None:
        """One of our calls has ended."""
        ...

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """One of our calls begins; what an MCP server is told of it in `_meta` besides."""
        ...

    def usage(self, total: dict[str, Any] | None, rounds: int) -> None:
        """A round has ended; `total` is the usage of the rounds so far, None if no provider told any."""
        ...


class Unobserved:
    """Nobody follows."""

    def state(self, state: str) -> None:
        """Not kept."""

    def tool_call(self, record: CallRecord) -> None:
        """Not kept."""

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """Nothing to tell."""
        return {}

    def usage(self, total: dict[str, Any] | None, rounds: int) -> None:
        """Not kept."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request for an augmented model, ready to be answered.

    `body` is the client's request as it shall go upstream (upstream's model name, params applied, messages
    assembled); the agent itself adds tools, restores mixed turns, and sets `tool_choice` and `stream_options`.
    `model` is the name the client asked for. `offered_only`: a plain model with `execute_tools`; nothing is added,
    and only those tools of `toolbox` run that the client itself offers.
    """

    body: dict[str, Any]
    model: str
    ask: Ask
    toolbox: TurnToolbox | None = None
    settings: LoopSettings = field(default_factory=LoopSettings)
    caller: str = ""  # Caller.identity
    request_id: str = ""
    meta: dict[str, Any] = field(default_factory=dict)  # for MCP servers, as `_meta`
    device: str = ""  # Home Assistant's id of the satellite that a person speaks to
    turns: TurnStore | None = None
    published: Callable[[], Awaitable[None]] | None = None  # waits until other daemons know what `turns` was given
    observer: Observer = field(default_factory=Unobserved)
    offered_only: bool = False
    newest: str = ""  # the person's newest message, whose language sentences of our own are in
    started: float | None = None  # by `clock`, when the request arrived; None: now
    waking: asyncio.Event | None = None  # set when the provider's machine sleeps and has to be waited for
    thinking: Thinking = field(default_factory=ThinkingMemory)
    consent: Consent | None = None  # of the person, for tools that need it
    clock: Callable[[], float] = time.monotonic
