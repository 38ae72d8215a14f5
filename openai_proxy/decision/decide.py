"""Where a request goes, whether it may, and how it is answered: decided here, for every endpoint.

`decide` is a function of the configuration, the caller, the endpoint, the model's name and the session. It has no I/O
and no side effects, so it can be called at any time: for requests, the list of models, chat commands and
`openai-proxy explain`. Turns and trials are taken by `decision.begin`.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from openai_proxy import endpoints
from openai_proxy.bounds import check_model
from openai_proxy.decision import restricted
from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import BadRequest, NotFound, ProxyError, unknown_model
from openai_proxy.exchange import Caller, Target
from openai_proxy.routing.router import Route, connection_of
from openai_proxy.transforms.params import NONE, Rules
from openai_proxy.upstream.provider import Provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from openai_proxy.runtime.generation import Generation
    from openai_proxy.transforms.sessions import Session

_PASSING: Final = frozenset({"", "chat"})


class DecisionKind(Enum):
    """How a request is answered."""

    PLAIN = "plain"  # the provider's answer, passed through or translated
    AUGMENTED = "augmented"  # ours: the agent runs the tools of an augmented model


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about a request. Frozen, and valid as long as its configuration is in service."""

    kind: DecisionKind
    endpoint: Endpoint
    model: str | None  # as requested; None if the request names none
    name: str | None  # what is routed: the upstream model of an augmented one, else `model`
    route: Route  # targets this caller may use, in the order of the rule; never empty
    rules: dict[str, Rules]  # by connection: what `params` change in the body
    withheld: tuple[Target, ...] = ()  # targets of the rule that this caller may not use

    def native(self, provider: Provider) -> bool:
        """True if this connection accepts the client's request unchanged."""
        dialect = self.endpoint.dialect
        return dialect in _PASSING or provider.speaks(dialect)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served: `error` for the caller, `reason` for the owner, who may know more."""

    error: ProxyError
    reason: str


def decide(
    generation: "Generation",
    caller: Caller,
    endpoint: Endpoint,
    model: str | None,
    session: "Session | None" = None,
    document: "Mapping[str, Any] | None" = None,
    query: str = "",
) -> Decision | Refusal:
    """How to serve a request of `caller` to `endpoint` for `model`; body and query may name further models.

    A model the caller may not use looks to it like one that does not exist.
    """
    if model is not None:
        try:
            check_model(model)
        except BadRequest as too_long:
            return Refusal(too_long, "the model's name is too long")
    for named in _in_batch(document) if document is not None and endpoint.name == "batches" else ():
        if named in generation.snapshot.models:
            return Refusal(not_in_batches(named), "an augmented model is not served in batches")
    own = _own_route(generation, caller, model, session)
    if isinstance(own, Refusal):
        return own
    name = model
    augmented = False
    if model is not None and own is None:
        if not generation.access.may_use(caller, model):
            return Refusal(unknown_model(model), f"group '{caller.group}' may not use a model of this name")
        found = generation.snapshot.models.get(model)
        if found is not None:
            refused = _refused_here(endpoint, model)
            if refused is not None:
                return refused
            name = found.upstream_model
            augmented = endpoint.augmented == endpoints.SERVE
    route = own or _by_backend(generation, name, session) or generation.router.resolve(name)
    if endpoint.only:
        route = _among(generation, caller, endpoint.only, route)
    if route is None:
        return _nowhere(model, "no rule matches, and there is no default connection")
    targets = generation.access.reachable(caller, route.targets)
    if not targets:
        return _nowhere(model, f"group '{caller.group}' may not use any of these connections")
    if generation.access.restricts_models(caller):
        error = restricted.refusal(generation.access, caller, endpoint, model, targets, document, query)
        if error is not None:
            return Refusal(error, f"group '{caller.group}' may use some models only")
    if name != model:  # an augmented model's upstream name never comes from the body
        targets = tuple(replace(target, model=target.model or name) for target in targets)
    if model is None and endpoint.needs_model and targets[0].model is None:
        nameless = BadRequest("The request names no model.", param="model", code="model_required")
        return Refusal(nameless, "the request names no model")
    withheld = tuple(t for t in route.targets if not generation.access.may_reach(caller, t.connection))
    if targets is not route.targets:
        route = Route(targets, route.policy, route.rule)
    kind = DecisionKind.AUGMENTED if augmented else DecisionKind.PLAIN
    shaping = endpoint.shaped
    rules = {t.connection: generation.rules(t.connection, model) if shaping else NONE for t in targets}
    return Decision(kind, endpoint, model, name, route, rules, withheld)


def decided(found: Decision | Refusal) -> Decision:
    """The decision. Raises the error of a refusal."""
    if isinstance(found, Refusal):
        raise found.error
    return found


def _refused_here(endpoint: Endpoint, model: str) -> Refusal | None:
    if endpoint.augmented != endpoints.REFUSE:
        return None
    serving = [row.path for row in endpoints.TABLE if row.augmented == endpoints.SERVE and row.generates]
    text = f"The model '{model[:200]}' is not served at this path. Use {' or '.join(serving)}."
    error = BadRequest(text, param="model", code="unsupported_endpoint")
    return Refusal(error, "an augmented model is not served at this path")


def not_in_batches(model: str) -> BadRequest:
    """The refusal of a batch that names an augmented model."""
    message = f"The model '{model[:200]}' cannot be used in a batch: its tools run in this proxy."
    return BadRequest(message, param="model", code="unsupported_endpoint")


def _in_batch(document: "Mapping[str, Any]") -> "Iterator[str]":
    """The models of a batch of messages (https://docs.anthropic.com/en/api/creating-message-batches)."""
    requests = document.get("requests")
    for request in requests if isinstance(requests, list) else ():
        params = request.get("params") if isinstance(request, dict) else None
        model = params.get("model") if isinstance(params, dict) else None
        if isinstance(model, str):
            yield model


def _nowhere(model: str | None, reason: str) -> Refusal:
    if model is None:
        return Refusal(NotFound("No connection is configured for this request.", code="no_connection"), reason)
    return Refusal(unknown_model(model), reason)


def _among(generation: "Generation", caller: Caller, api_type: str, route: Route | None) -> Route | None:
    """`route` limited to connections of this type, else the first such connection that the caller may use."""
    connections = generation.config.connections
    fit = tuple(t for t in route.targets if connections[t.connection].api_type == api_type) if route is not None else ()
    if route is not None and fit:
        return replace(route, targets=fit)
    for name, connection in connections.items():
        if connection.api_type == api_type and generation.access.may_reach(caller, name):
            return Route((Target(name, None),), "ordered", f"the first connection with api_type {api_type}")
    return None


def _own_route(
    generation: "Generation", caller: Caller, name: str | None, session: "Session | None"
) -> Route | Refusal | None:
    """The failover route called `name` that was created in this session by command."""
    if session is None or name is None or (own := session.routes.get(name)) is None:
        return None
    targets: list[Target] = []
    connections = generation.config.connections
    for text in own.targets:
        connection = connection_of(text, connections)
        if connection is None:
            continue
        model = text[len(connection) + 1 :].replace("*", name)
        if generation.access.may_use(caller, model):
            targets.append(Target(connection, connections[connection].model or model))
    if not targets:
        error = BadRequest(f"The route {name[:64]} has no targets.", param="model", code="empty_route")
        return Refusal(error, "the route of this session has no targets")
    return Route(tuple(targets), own.policy, f"route '{name}' of a session")


def _by_backend(generation: "Generation", name: str | None, session: "Session | None") -> Route | None:
    """Where `name` goes on the session's backend; None if there is none, or if the name itself selects a connection."""
    backend = session.backend if session is not None else None
    connections = generation.config.connections
    if backend is None or backend not in connections:
        return None
    head, colon, rest = (name or "").partition(":")
    if colon and rest and head in connections:
        return None  # requested by name, which bypasses the rules
    if name is None:
        return Route((Target(backend, connections[backend].model or None),), "ordered", "backend of the session")
    return generation.router.resolve(f"{backend}:{name}")
