"""What is sent upstream in each round of a turn, and who runs a tool call.

Rules: our tools first, then the client's, both sorted by name (a stable prefix hits the provider's prompt cache); of
two with the same name the client's is used. A forced `tool_choice` applies to the first round only, or the model would
call forever (https://github.com/openai/openai-agents-python/pull/263). The last round keeps the tools listed, since
some providers refuse a transcript with calls of unlisted tools, and forbids them with `tool_choice: none`.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from openai_proxy.agent.same_tools import common_name
from openai_proxy.agent.turn import Turn, TurnToolbox
from openai_proxy.dialects.chat.prompt_cache import sorted_tools
from openai_proxy.dialects.tool_names import name_of
from openai_proxy.errors import BadRequest

PROBE_TOKENS: Final = 16
"""A request for this few tokens is a client's probe (Home Assistant's llama.cpp integration asks for 3 at set-up)."""


class ToolOwner(Enum):
    """Who runs a call."""

    OURS = "ours"
    CLIENT = "client"
    NOBODY = "nobody"


class Plan:
    """One turn's tools and request bodies."""

    def __init__(self, turn: Turn, messages: Sequence[Any]) -> None:
        """`messages` as the provider will see them, with hidden turns restored."""
        body = turn.body
        self._body = body
        self._client_tools = [t for t in body.get("tools") or () if isinstance(t, dict)]
        self._client_names = frozenset(filter(None, map(name_of, self._client_tools)))
        self._offered_only = turn.offered_only
        self.stream = body.get("stream") is True
        options = body.get("stream_options")
        self._stream_options = options if isinstance(options, dict) else {}
        self.wants_usage = not self.stream or self._stream_options.get("include_usage") is True
        self.parallel = body.get("parallel_tool_calls") is not False
        self.choices = choices(body)
        self._preferred: dict[str, str] = {}  # the client's tools by function (`common_name`) -> their names
        self.toolbox = self._usable(turn, messages)
        if turn.settings.client_tools != "pass" and self.toolbox is not None and not self._offered_only:
            self._without_doubles(self.toolbox, prefer_theirs=turn.settings.client_tools == "prefer")
        theirs = any(self.owner(name) is ToolOwner.CLIENT for name in self._client_names)
        self._must_call_theirs = theirs and body.get("tool_choice") == "required"

    def _usable(self, turn: Turn, messages: Sequence[Any]) -> TurnToolbox | None:
        box, body = turn.toolbox, turn.body
        if box is None or not loops(body) or turn.settings.max_tool_rounds < 1:
            return None
        if turn.offered_only:
            return box if offers_ours(body, box) else None
        if body.get("tool_choice") == "none" and not _has_calls(messages):
            return None  # nothing may be called, and no transcript needs the definitions
        if turn.settings.client_tools == "drop" and box.definitions():
            return box
        return box if any(name_of(d) not in self._client_names for d in box.definitions()) else None

    def _without_doubles(self, box: TurnToolbox, *, prefer_theirs: bool) -> None:
        """Of two tools with the same function, ours and the client's, leave one out."""
        ours = {name: common_name(name, box.get(name)) for name in map(name_of, box.definitions())}
        theirs = {name: common_name(name) for name in self._client_names}
        if prefer_theirs:
            self._preferred = {common: name for name, common in theirs.items()}
            if all(common in self._preferred for common in ours.values()):
                self.toolbox = None
            return
        kept = frozenset(ours.values())
        self._client_tools = [t for t in self._client_tools if theirs.get(name_of(t)) not in kept]
        self._client_names = frozenset(filter(None, map(name_of, self._client_tools)))
        choice = self._body.get("tool_choice")
        forced = name_of(choice) if isinstance(choice, dict) else ""
        if forced in theirs and forced not in self._client_names and forced not in ours:
            instead = next(name for name, common in ours.items() if common == theirs[forced])
            self._body = {**self._body, "tool_choice": {"type": "function", "function": {"name": instead}}}

    def _merged(self) -> list[dict[str, Any]]:
        if self._offered_only:
            return self._client_tools
        theirs: list[dict[str, Any]] = sorted_tools(self._client_tools)
        if self.toolbox is None:
            return theirs
        ours = self.toolbox.definitions()
        if self._client_names:
            ours = [d for d in ours if name_of(d) not in self._client_names and self.instead_of(name_of(d)) is None]
        return ours + theirs

    def instead_of(self, name: str) -> str | None:
        """The client's tool that is offered instead of ours called `name`; None if ours is."""
        if not self._preferred or self.toolbox is None:
            return None
        tool = self.toolbox.get(name)
        return self._preferred.get(common_name(name, tool)) if tool is not None else None

    def owner(self, name: str) -> ToolOwner:
        """Who runs the tool `name`: looked up, never derived from its form."""
        if self.toolbox is None:
            return ToolOwner.CLIENT
        if self._offered_only:
            return ToolOwner.OURS if name in self._client_names and self.toolbox.get(name) else ToolOwner.CLIENT
        if name in self._client_names:
            return ToolOwner.CLIENT
        known = self.toolbox.get(name) is not None and self.instead_of(name) is None
        return ToolOwner.OURS if known else ToolOwner.NOBODY

    def request(self, messages: Sequence[Any], *, first: bool, last: bool) -> dict[str, Any]:
        """The body of one round."""
        body = {**self._body, "messages": list(messages)}
        if self.stream:
            # Always requested: the sum over the rounds, limits and records need it. The client sees it if requested.
            body["stream_options"] = {**self._stream_options, "include_usage": True}
        tools = self._merged()  # find_tools adds tools in the middle of a turn
        if tools:
            body["tools"] = tools
        else:
            for name in ("tools", "tool_choice", "parallel_tool_calls"):  # refused where no tools are listed
                body.pop(name, None)
            return body
        if self._must_call_theirs:  # it stays required when our tools have run: the client expects a call, not text
            if last:
                body["tools"] = [t for t in tools if self.owner(name_of(t)) is ToolOwner.CLIENT]
        elif last:
            body["tool_choice"] = "none"
        elif not first and "tool_choice" in body:
            body["tool_choice"] = _relaxed(body["tool_choice"])
        return body


def offers_ours(body: dict[str, Any], toolbox: TurnToolbox) -> bool:
    """True if a plain request offers a tool we have a handler for: only then does `execute_tools` apply."""
    tools = body.get("tools")
    offered = [t for t in tools if isinstance(t, dict)] if isinstance(tools, list) else []
    return loops(body) and any(toolbox.get(name_of(tool)) is not None for tool in offered)


def check_request(body: Mapping[str, Any]) -> None:
    """Raise BadRequest if `messages`, `tools` or `stream` are not valid for a turn."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise BadRequest("'messages' must be a list.", param="messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest("Every message must be an object with a role.", param="messages")
    if not isinstance(body.get("tools") or [], list):
        raise BadRequest("'tools' must be a list.", param="tools")
    if not isinstance(body.get("stream"), bool | None):
        raise BadRequest("'stream' must be true or false.", param="stream")


def choices(body: dict[str, Any]) -> int:
    """How many answers are requested."""
    count = body.get("n")
    return count if isinstance(count, int) and count > 1 else 1


def loops(body: dict[str, Any]) -> bool:
    """True if our tools may run for this request: one answer is requested, and it is not a probe."""
    return choices(body) == 1 and not is_probe(body)


def is_probe(body: Mapping[str, Any]) -> bool:
    """True for a request limited to 16 tokens: no tool runs and no template is waited for."""
    limits = [body.get("max_tokens"), body.get("max_completion_tokens")]
    return any(isinstance(n, int | float) and not isinstance(n, bool) and n <= PROBE_TOKENS for n in limits)


def is_structured(body: Mapping[str, Any]) -> bool:
    """True if the answer is requested as JSON: data that nobody will hear spoken."""
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _relaxed(choice: Any) -> Any:
    """`tool_choice` after the first round."""
    if choice == "none":
        return choice
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        return {**choice, "allowed_tools": {**allowed, "mode": "auto"}} if isinstance(allowed, dict) else "auto"
    return "auto"


def _has_calls(messages: Sequence[Any]) -> bool:
    return any(isinstance(m, dict) and m.get("tool_calls") for m in messages)
