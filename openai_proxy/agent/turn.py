"""The inputs of one augmented answer. Everything is passed in; the agent fetches nothing itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from openai_proxy.agent.store import TurnStore
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.tools.base import CallContext, Consent, Tool, ToolResult


class Thinking(Protocol):
    """Whether the model of one turn begins with unmarked reasoning: some chat templates put `<think>` into the prompt.

    Only the closing tag shows it, too late for the first such answer; from the next one on it is expected.
    """

    @property
    def expected(self) -> bool:
        """True if its answers are known to begin with reasoning."""
        ...

    def seen(self, *, thinks: bool) -> None:
        """Note what an answer of it has shown."""
        ...


class ThinkingMemory:
    """What is known about one model, in memory."""

    def __init__(self) -> None:
        self.expected = False

    def seen(self, *, thinks: bool) -> None:
        """See Thinking."""
        self.expected = thinks


Ask = Callable[[dict[str, Any]], Awaitable[UpstreamResponse]]
"""Sends one chat request body upstream and returns when the answer's head has arrived, whatever its status.

Raises ProxyError without an answer. It handles retries and failover of the first request, and sends later requests of
the same turn to the connection and key that answered the first, because reasoning items and signatures belong to the
provider. Cancelling it must release the connection.
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
    """The loop's settings; the first eight have the names and defaults of a model file's keys. Times in seconds."""

    tool_status: str = "chunk"  # chunk | reasoning | off
    reasoning: str = "pass"  # pass | strip
    remember_tool_turns: bool = False
    max_tool_rounds: int = 10
    tool_timeout: float = 60.0
    deadline: float | None = None
    speech: bool = False
    client_tools: str = "pass"  # pass | prefer | drop
    concurrency: int = 8  # concurrent calls of one turn
    same_call_limit: int = 3  # runs of one call with the same arguments in one turn
    heartbeat: float = 5.0  # Home Assistant's clients wait 90 s at least; browsers' proxies cut at 30 to 60 s

    @classmethod
    def of(cls, model: object) -> "LoopSettings":
        """The settings of `model` (a ModelConfig), with defaults for the rest."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: getattr(model, name) for name in names if hasattr(model, name)})


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One finished call of one of our tools, for the chat log. `status` is "ok" or "error"."""

    id: str
    tool: str
    arguments: str
    result: str
    status: str
    seconds: float


class Observer(Protocol):
    """Observes a turn: the record, the list of running requests. Must not block."""

    def state(self, state: str) -> None:
        """The turn is now "waiting" for the provider, "streaming" or running "tools"."""
        ...

    def tool_call(self, record: CallRecord) -> None:
        """One of our calls has ended."""
        ...

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """One of our calls starts. Returns what to add to its `_meta` for an MCP server, such as the trace context."""
        ...

    def usage(self, total: dict[str, Any] | None, rounds: int) -> None:
        """A round has ended; `total` is the usage of the rounds so far, None if no provider reported any."""
        ...


class NullObserver:
    """An observer for turns that nobody observes."""

    def state(self, state: str) -> None:
        """Not kept."""

    def tool_call(self, record: CallRecord) -> None:
        """Not kept."""

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """Ignores everything."""
        return {}

    def usage(self, total: dict[str, Any] | None, rounds: int) -> None:
        """Not kept."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request for an augmented model, ready to be answered.

    `body` is the client's request in its upstream form (upstream's model name, params applied, messages assembled); the
    agent itself adds tools, restores mixed turns, and sets `tool_choice` and `stream_options`. `model` is the name that
    the client requested. `offered_only`: a plain model with `execute_tools`; nothing is added, and only tools of
    `toolbox` that the client offers are run.
    """

    body: dict[str, Any]
    model: str
    ask: Ask
    toolbox: TurnToolbox | None = None
    settings: LoopSettings = field(default_factory=LoopSettings)
    caller: str = ""  # Caller.identity
    request_id: str = ""
    meta: dict[str, Any] = field(default_factory=dict)  # for MCP servers, as `_meta`
    device: str = ""  # Home Assistant's id of the satellite being spoken to
    turns: TurnStore | None = None
    published: Callable[[], Awaitable[None]] | None = None
    """Waits until other daemons have received what `turns` stores."""
    observer: Observer = field(default_factory=NullObserver)
    offered_only: bool = False
    newest: str = ""  # the person's newest message, which determines the language of our own sentences
    started: float | None = None  # when the request arrived, by `clock`; None: now
    waking: asyncio.Event | None = None  # set when the provider's machine is asleep and must be waited for
    thinking: Thinking = field(default_factory=ThinkingMemory)
    consent: Consent | None = None  # the person's, for tools that need it
    large: bool = False  # `body` is too large to be processed on the event loop
    clock: Callable[[], float] = time.monotonic
