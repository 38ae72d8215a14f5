"""Whether a request can be spliced, and all that is needed to begin: the steps of `api.chat` in one pass.

It takes what nothing but the head and the model's name decides; anything that wants a second look (an augmented
model, a limit that must wait, a provider that translates) is left to the ordinary way.
"""

from typing import Any, NamedTuple

import orjson

from openai_proxy.api import steering
from openai_proxy.api.chat import asked_model
from openai_proxy.api.heads import KnownHead
from openai_proxy.api.ids import new_id
from openai_proxy.exchange import Caller, Exchange
from openai_proxy.protocols.json_members import edit, parse_object
from openai_proxy.records.entry import Entry
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.transforms.params import NOTHING, shape
from openai_proxy.upstream.openai import OpenAIProvider


class Begun(NamedTuple):
    """What a splice is made from."""

    generation: Generation
    exchange: Exchange
    entry: Entry
    provider: OpenAIProvider
    route: Route
    key: str | None
    request: bytes


class Choice(NamedTuple):
    """`begun` is None for the ordinary way; `route` is then what was decided already, if anything."""

    begun: Begun | None
    route: Route | None = None


ORDINARY = Choice(None)


def choose(state: State, head: KnownHead, body: bytes) -> Choice:
    """Decide about one request. Raises ProxyError for what the ordinary way shall refuse."""
    generation = state.generation
    if len(state.running) >= generation.config.limits.max_concurrent_requests:
        return ORDINARY
    path, caller = head.path, head.caller
    document = parse_object(body)
    model = asked_model(document)
    if generation.config.execute_tools and document.get("tools"):
        return ORDINARY
    if _is_special(state, head, document, body):
        return ORDINARY
    chosen = _route(generation, caller, model)
    if chosen is None:
        return ORDINARY
    route, provider = chosen
    target = route.targets[0]
    exchange = Exchange(new_id(), caller, "POST", path, model, document.get("stream") is True)
    exchange.session_id = head.session
    if generation.allowances:
        allowance = generation.allowances.get(caller.group)
        if allowance is not None and not state.governor.enter_now(exchange, allowance):
            return Choice(None, route)
    entry = state.recorder.open(exchange)
    entry.request(body)
    rules = generation.params[target.connection]
    changes = shape(document, rules) if rules else NOTHING
    members = changes.members() if changes else {}
    if target.model is not None:
        members["model"] = orjson.dumps(target.model)
    sent = edit(body, members, changes.removed) if members or changes else body
    upstreams = generation.upstreams
    key = upstreams.health.keys.pick(target.connection, upstreams.keys[target.connection])
    request = provider.post_head(path, key, head.fields, len(sent)) + sent
    return Choice(Begun(generation, exchange, entry, provider, route, key, request), route)


def _is_special(state: State, head: KnownHead, document: dict[str, Any], body: bytes) -> bool:
    """True if the body may hold a command or a secret, or the caller has a session; never wrongly False."""
    generation, redactor = state.generation, state.redactor
    mark = generation.command_mark
    quiet = redactor.quiet(body, document, head.own)
    if head.path in steering.PATHS and (
        (mark.in_quiet(body) if quiet else mark.in_body(body))
        or generation.config.commands.interactive
        or (len(state.sessions) > 0 and state.sessions.concern(head.caller.identity))
    ):
        return True
    return not quiet and (not redactor.fresh or redactor.suspects(body, document, head.own))


def _route(generation: Generation, caller: Caller, model: str | None) -> tuple[Route, OpenAIProvider] | None:
    """The route of this request, if its first target can be spliced."""
    access = generation.access
    if model is None or model in generation.snapshot.models or not access.may_use(caller, model):
        return None
    route = generation.router.resolve(model)
    if route is None:
        return None
    targets = access.reachable(caller, route.targets)
    if not targets:
        return None
    providers = generation.providers
    for target in targets:  # all of them, and before anything takes its turn: the ordinary way would take it again
        found = providers[target.connection]
        if type(found) is not OpenAIProvider or found.config.forward_auth:
            return None
    upstreams = generation.upstreams
    health = upstreams.health
    if len(targets) > 1:
        if route.policy == "round_robin":
            targets = health.in_turn(route.rule, targets)
        targets = health.ordered(targets, model, upstreams.keys)
    if not health.calm:
        if len(targets) == 1 and health.rests(targets[0], model, upstreams.keys[targets[0].connection]):
            return None  # whether it may be asked now is decided the ordinary way
        health.begun(targets[0], model)
    if targets is not route.targets:
        route = Route(targets, route.policy, route.rule)
    provider = providers[targets[0].connection]
    assert type(provider) is OpenAIProvider
    return route, provider
