"""Whether a decided request may take the fast path, and everything needed to start: `pipeline.order` in one call.

It takes requests decided by the head and the model's name alone; anything that needs more (an augmented model, a limit
that must wait, a translating provider) is left to the pipeline.
"""

from typing import Any, Final

from openai_proxy.auth.limits import Allowance
from openai_proxy.bounds import check_names, requested_model, user_of
from openai_proxy.decision.begin import begin
from openai_proxy.decision.decide import Decision, DecisionKind, decide, decided
from openai_proxy.decision.restricted import may_name_others
from openai_proxy.dialects.foreign_thoughts import hinted
from openai_proxy.exchange import Exchange, new_request_id
from openai_proxy.fastpath.direct_relay import DirectRelay, RelayClient
from openai_proxy.fastpath.known_heads import KnownHead
from openai_proxy.fastpath.send_plan import SendPlan
from openai_proxy.protocols.json_members import LARGE, check_unique, edit, parse_object
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.transforms.params import shape
from openai_proxy.upstream.openai import OpenAIProvider

MAX_PLANS: Final = 256
"""Plans per head: the models that one client requests. Names come from clients, so they are bounded."""


def choose(client: RelayClient, head: KnownHead, body: bytes) -> DirectRelay | Decision | None:
    """A relay that may start; else the decision about the request, None if there is none.

    Raises ProxyError for what the pipeline will refuse.
    """
    state = client.state
    generation = state.generation
    if len(state.running) >= generation.max_requests or state.telemetry is not None:
        return None  # tracing needs a different head for each request
    if len(body) >= LARGE:
        return None  # parsed off the event loop
    document = parse_object(body)
    plan = _known_plan(generation, head, document)
    model = plan.decision.model if plan is not None else requested_model(document)
    check_names(document)
    if model is None or (generation.executes_tools and document.get("tools")):
        return None
    if _is_special(state, head, document, body):
        return None
    if head.restricted:
        check_unique(body)
        if may_name_others(document):
            return None  # the pipeline checks them for every request
    decision = plan.decision if plan is not None else decided(decide(generation, head.caller, head.endpoint, model))
    if plan is None and not _may_relay(generation, decision):
        return decision
    exchange = Exchange(new_request_id(), head.caller, "POST", head.endpoint, model, document.get("stream") is True)
    exchange.session_id, exchange.agent, exchange.user = head.session, head.agent, user_of(document) or head.user
    if generation.allowances:
        allowance = generation.allowances.get(head.caller.group)
        if allowance is not None and not _enters(state, exchange, allowance, plan, decision, body, document):
            return decision
    if plan is None:
        plan = _plan(generation, head, decision, model)
    entry = state.recorder.open(exchange)
    entry.request(body, document)
    sent = body
    if plan.rules or plan.model is not None:
        edits = shape(document, plan.rules, head.endpoint.dialect) if plan.rules else None
        members = edits.as_json() if edits is not None else {}
        if plan.model is not None:
            members["model"] = plan.model
        removed = edits.remove if edits is not None else ()
        if members or removed:
            sent = edit(body, members, removed)
    return DirectRelay(client, generation, exchange, entry, head, plan, sent)


def _known_plan(generation: Generation, head: KnownHead, document: dict[str, Any]) -> SendPlan | None:
    """How the last request with this head and model was sent, if this one can be sent the same way."""
    name = document.get("model")
    if type(name) is not str or not generation.upstreams.health.all_healthy:
        return None
    plan = head.plans.get(name)
    # If something has been learnt about the provider's models since, its requests may have to be changed.
    return plan if plan is not None and plan.learnt == plan.lessons.version else None


def _enters(
    state: ProxyState,
    exchange: Exchange,
    allowance: Allowance,
    plan: SendPlan | None,
    decision: Decision,
    body: bytes,
    document: dict[str, Any],
) -> bool:
    """True if its group's limits have admitted the request; False if the pipeline must check them."""
    if allowance.budget is None:
        return state.governor.enter_now(exchange, allowance)
    target = plan.target if plan is not None else decision.route.targets[0]
    estimate = state.governor.spendings.estimate(target, exchange.model, len(body), document)
    return estimate is not None and state.governor.enter_now(exchange, allowance, estimate)


def _is_special(state: ProxyState, head: KnownHead, document: dict[str, Any], body: bytes) -> bool:
    """True if the body may contain a command, a secret or foreign reasoning, or the caller has a session."""
    if head.holds_thoughts and hinted(body, head.endpoint.dialect):
        return True
    generation, redactor = state.generation, state.redactor
    mark, callers = generation.command_mark, state.sessions.callers
    quiet = redactor.quiet(body, document, head.own)
    if head.endpoint.commanded and (
        (mark.in_quiet(body) if quiet else mark.in_body(body))
        or generation.interactive
        or (callers and head.caller.identity in callers)
    ):
        return True
    return not quiet and (not redactor.fresh or redactor.suspects(body, document, head.own))


def _may_relay(generation: Generation, decision: Decision) -> bool:
    """True if every target accepts the request unchanged, with a key of ours, and can be used now."""
    if decision.kind is not DecisionKind.PLAIN:
        return False
    targets = decision.route.targets
    providers = generation.providers
    for target in targets:
        provider = providers[target.connection]
        if (
            type(provider) is not OpenAIProvider
            or provider.config.forward_auth
            or target.first_byte is not None
            or provider.config.concurrency is not None
            or provider.config.wake is not None
            or not provider.relays(decision.endpoint.dialect, target.model or decision.model)
        ):
            return False
    upstreams = generation.upstreams
    if len(targets) > 1 or upstreams.health.all_healthy:
        return True
    only = targets[0]
    return not upstreams.health.cooldown_left(only, decision.model, upstreams.keys[only.connection])


def _plan(generation: Generation, head: KnownHead, decision: Decision, model: str) -> SendPlan:
    """How to send the request; remembered with the head if the next one for `model` can be sent the same way."""
    upstreams = generation.upstreams
    targets = begin(decision, upstreams)
    connection = targets[0].connection
    provider = generation.providers[connection]
    assert type(provider) is OpenAIProvider
    keys = upstreams.keys[connection]
    key = upstreams.health.keys.pick(connection, keys)
    plan = SendPlan(decision, targets, provider, key, head.fields)
    if len(targets) == 1 and len(keys) < 2 and upstreams.health.all_healthy:
        if len(head.plans) >= MAX_PLANS:
            head.plans.clear()
        head.plans[model] = plan
    return plan
