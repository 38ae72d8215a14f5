"""Makes a provider load a model, and the part of its prompt that is the same in every turn (contract §12, warm).

The request is like a turn's first one, with the same tools and system message and `max_tokens: 1`: what it leaves in
the provider's cache is the beginning of the next turn. It has the lowest priority.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_proxy.agent.plan import Plan
from openai_proxy.agent.turn import Turn
from openai_proxy.decision.decide import Decision, DecisionKind, decide, decided
from openai_proxy.decision.internal import asked
from openai_proxy.decision.visible import CHAT
from openai_proxy.dialects import json_text
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.exchange import PRIORITIES, Caller, Exchange, Outcome, Target, UpstreamRequest, new_request_id
from openai_proxy.pipeline.round_request import round_document
from openai_proxy.records.recording.entry import Entry
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.upstream.failover import Opened, open_first

SERVER_WAIT: Final = 60.0
"""Seconds to wait for MCP servers that are starting: their tools are at the beginning of every turn."""

NOTE: Final = "warm"
"""The record's note on such a request."""

_OWNER: Final = Caller("local", admin=True)
_MESSAGES: Final = ({"role": "user", "content": "Hi"},)
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_MAX_ANSWER: Final = 1 << 20  # bytes of one token and its frame


async def warm(state: ProxyState, model: str, *, wakes: bool = True) -> dict[str, Any]:
    """Warm `model` at its first target; returns the result as reported by `/admin/warm`.

    Without `wakes` nothing is sent to a connection whose machine may be asleep. Raises ProxyError for an unknown name,
    and for a failure.
    """
    generation = state.generation
    decision = decided(decide(generation, _OWNER, CHAT, model))
    target = decision.route.targets[0]
    connection = generation.config.connections.get(target.connection)
    result: dict[str, Any] = {"model": model, "connection": target.connection}
    if connection is not None and connection.wake is not None and not wakes:
        return {**result, "warm": False, "error": "its machine may be asleep, and is not woken for this"}
    exchange = Exchange(new_request_id(), _OWNER, "POST", CHAT, model)
    exchange.priority = PRIORITIES["low"]
    exchange.notes.append(NOTE)

    async def send(entry: Entry) -> Opened:
        body, tail = await _first_round(state, generation, decision)
        sent = _document(generation, decision, target, body, tail)
        written = json_text.dumps(sent)
        if generation.config.redact_api_keys_in_prompts:
            written = state.redactor.body(written, sent, None)
        entry.request(written)
        return await open_first((target,), lambda _: _request(written), generation.upstreams, exchange)

    generation.lease.take()
    try:
        async with asked(state, exchange, send, interrupted=Outcome.CANCELLED) as answer:
            data = await answer.read(_MAX_ANSWER)
    finally:
        generation.lease.give_back()
    seconds = round(time.monotonic() - exchange.started, 3)
    return {**result, "warm": True, "seconds": seconds, **_prompt_tokens(data)}


async def _first_round(state: ProxyState, generation: Generation, decision: Decision) -> tuple[dict[str, Any], str]:
    """The body of the first round of a turn, and what ends its message."""
    body: dict[str, Any] = {"model": decision.model, "messages": [dict(message) for message in _MESSAGES]}
    if decision.kind is not DecisionKind.AUGMENTED or generation.augmented is None:
        return body, ""
    model = generation.augmented.models[str(decision.model)]
    if model.servers:
        await state.supervisor.wait_ready(model.servers, SERVER_WAIT)
    shared_tools, extra = generation.augmented.everything.toolbox(), generation.augmented.context

    async def call(name: str, arguments: Mapping[str, Any], **options: Any) -> ToolResult:
        return await (shared_tools if name in shared_tools else extra).run(name, arguments, CallContext(), **options)

    assembled = await model.prompt.messages(
        body["messages"], call, known=lambda name: name in shared_tools or name in extra, cache=state.workshop.cache
    )
    body["messages"] = assembled.messages
    offered = model.offering.offered(_NewConversation())
    turn = Turn(body, str(decision.model), _never, toolbox=offered, settings=model.settings)
    return Plan(turn, assembled.messages).request(assembled.messages, first=True, last=False), assembled.tail


class _NewConversation:
    """tools.find_tools.FoundTools: an empty one."""

    def found(self) -> tuple[str, ...]:
        return ()

    def add_found(self, names: Sequence[str]) -> None:
        """See FoundTools; nothing is called here."""


async def _never(body: dict[str, Any]) -> Any:
    """Sends nothing: the turn is only planned."""
    raise AssertionError("a turn that is only planned has called a provider")


def _document(
    generation: Generation, decision: Decision, target: Target, body: dict[str, Any], tail: str
) -> dict[str, Any]:
    """`body` for `target`, limited to one token, whatever that limit's name and whatever `params` say."""
    document = round_document(generation, decision, target, {**body, "max_tokens": 1}, tail)
    document.pop("stream", None)
    limits = [name for name in _LIMITS if name in document] or ["max_tokens"]
    return {**document, **dict.fromkeys(limits, 1)}


def _request(written: bytes) -> UpstreamRequest:
    fields = [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"identity")]
    return UpstreamRequest("POST", CHAT_PATH, "", fields, written)


def _prompt_tokens(data: bytes) -> dict[str, int]:
    """The length of the prompt, and how much of it was already cached; if the provider reports it."""
    from openai_proxy.records.reading.tokens import read_usage

    try:
        usage = json_text.loads(data).get("usage")
    except (ValueError, AttributeError):
        usage = None
    if not isinstance(usage, dict):
        return {}
    tokens = read_usage(usage)
    return {"prompt_tokens": tokens.input, "cached_tokens": tokens.cached}
