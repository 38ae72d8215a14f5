"""Whether a request can be relayed directly, and all that is needed to begin: the steps of `pipeline.order`, at once.

It takes what nothing but the head and the model's name decides; anything that wants a second look (an augmented
model, a limit that must wait, a provider that translates) is left to the ordinary way.
"""

from typing import Any, Final

from openai_proxy.decision.asked import CHAT_SHAPED, COMMANDED, asked_model
from openai_proxy.exchange import Caller, Exchange, new_request_id
from openai_proxy.fastpath.direct_relay import DirectRelay, RelayClient
from openai_proxy.fastpath.known_heads import KnownHead
from openai_proxy.fastpath.send_plan import SendPlan
from openai_proxy.protocols.json_members import edit, parse_object
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.transforms.params import NONE, NOTHING, shape
from openai_proxy.upstream.openai import OpenAIProvider

MAX_PLANS: Final = 256
"""Plans of one head: the models one client asks for. Names come from clients, so they are bounded."""


def choose(client: RelayClient, head: KnownHead, body: bytes) -> DirectRelay | Route | None:
    """A splice that may start, or else the ordinary way: the route that was decided already, None if there is none.

    Raises ProxyError for what the ordinary way shall refuse.
    """
    state = client.state
    generation = state.generation
    if len(state.running) >= generation.max_requests:
        return None
    document = parse_object(body)
    model = asked_model(document)
    if model is None or (generation.executes_tools and document.get("tools")):
        return None
    if _is_special(state, head, document, body):
        return None
    plan = head.plans.get(model) if generation.upstreams.health.calm else None
    if plan is None:
        plan = _plan(generation, head, model)
        if plan is None:
            return None
    exchange = Exchange(new_request_id(), head.caller, "POST", head.path, model, document.get("stream") is True)
    exchange.session_id = head.session
    if generation.allowances:
        allowance = generation.allowances.get(head.caller.group)
        if allowance is not None and not state.governor.enter_now(exchange, allowance):
            return plan.route
    entry = state.recorder.open(exchange)
    entry.request(body, document)
    sent = body
    if plan.rules or plan.model is not None:
        changes = shape(document, plan.rules) if plan.rules else NOTHING
        members = changes.members() if changes else {}
        if plan.model is not None:
            members["model"] = plan.model
        if members or changes:
            sent = edit(body, members, changes.removed)
    return DirectRelay(client, generation, exchange, entry, head, plan, sent)


def _is_special(state: State, head: KnownHead, document: dict[str, Any], body: bytes) -> bool:
    """True if the body may hold a command or a secret, or the caller has a session; never wrongly False."""
    generation, redactor = state.generation, state.redactor
    mark, callers = generation.command_mark, state.sessions.callers
    quiet = redactor.quiet(body, document, head.own)
    if head.path in COMMANDED and (
        (mark.in_quiet(body) if quiet else mark.in_body(body))
        or generation.interactive
        or (callers and head.caller.identity in callers)
    ):
        return True
    return not quiet and (not redactor.fresh or redactor.suspects(body, document, head.own))


def _plan(generation: Generation, head: KnownHead, model: str) -> SendPlan | None:
    """How to send a request for `model`; remembered with the head where the next one goes the same way."""
    chosen = _route(generation, head.caller, model)
    if chosen is None:
        return None
    route, provider = chosen
    connection = route.targets[0].connection
    upstreams = generation.upstreams
    keys = upstreams.keys[connection]
    key = upstreams.health.keys.pick(connection, keys)
    rules = generation.params[connection] if head.path in CHAT_SHAPED else NONE
    plan = SendPlan(route, provider, key, rules, head.path, head.fields)
    if len(route.targets) == 1 and len(keys) < 2 and upstreams.health.calm:
        if len(head.plans) >= MAX_PLANS:
            head.plans.clear()
        head.plans[model] = plan
    return plan


def _route(generation: Generation, caller: Caller, model: str) -> tuple[Route, OpenAIProvider] | None:
    """The route of this request, if its first target can be relayed directly."""
    access = generation.access
    if model in generation.snapshot.models or not access.may_use(caller, model):
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
