"""The order of things for every request to the API, on one page.

    identify    api.door: the gate admits the caller
    read        the body, as far as the route needs it
    limit       what the caller's group may use
    command     in-chat commands act on the session
    route       the asked-for name becomes targets
    shape       the body as each target is to see it
    answer      pass through, or run the agent
    record      records.recorder, from a copy

What passes through byte for byte takes the same steps in `api.lane`, in one callback.
"""

from collections.abc import Callable
from typing import Any

import orjson

from openai_proxy.api import first_answer, multipart, redacting, steering
from openai_proxy.api.asked import CHAT_SHAPED, asked_model
from openai_proxy.api.body import decoded
from openai_proxy.api.form_text import TextFields
from openai_proxy.api.headers import upstream_fields
from openai_proxy.api.passthrough import relay
from openai_proxy.api.visit import Visit
from openai_proxy.errors import BadRequest, NotFound, UpstreamError, unknown_model
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.protocols.json_members import edit, parse_object
from openai_proxy.routing.router import Route
from openai_proxy.transforms.params import NONE, shape
from openai_proxy.upstream.failover import open_first

MakeRequest = Callable[[Target], UpstreamRequest]

JSON_PATHS = frozenset(
    {"/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/moderations", "/rerank"}
)
"""Endpoints whose body is JSON whatever its Content-Type says: curl's -d calls it a form."""

NEEDS_MODEL = frozenset({"/chat/completions", "/completions", "/embeddings", "/messages"})
"""Endpoints that mean nothing without a model. Elsewhere providers have a default (moderations, images, a stored
prompt of /responses) or no use for one: what names none goes to the default connection."""


async def serve(visit: Visit) -> None:
    """Answer one API request. Raises ProxyError before anything was sent."""
    content_type = visit.request.headers.get("Content-Type", "").lower()
    if not visit.body.present:
        await _pass(visit, resolve(visit, None), lambda target: _request(visit, target, None))
    elif content_type.startswith("multipart/"):
        await _serve_multipart(visit)
    elif visit.path in JSON_PATHS or content_type.partition(";")[0].rstrip().endswith("json"):
        await _serve_json(visit)
    else:
        await _pass(visit, resolve(visit, None), lambda target: _streamed(visit, target))


async def _serve_json(visit: Visit) -> None:
    raw = await visit.body.whole()
    coding = visit.request.headers.get("Content-Encoding", "")
    plain = decoded(raw, coding, visit.body.limit) if coding else raw
    document = parse_object(plain)
    visit.exchange.model = asked_model(document)
    visit.exchange.stream = document.get("stream") is True
    logged = redacting.for_the_log(visit, plain, document)
    body = plain
    if steering.may_concern(visit, plain):
        steered = await steering.steer(visit, plain, document)
        if steered is None:
            return
        body, document = steered
    body, document = await redacting.clean(visit, body, document)
    visit.document = document
    model = visit.exchange.model = asked_model(document)
    route = resolve(visit, model)
    visit.entry.request(logged)
    if visit.opening is not None:
        first_answer.listen(visit.entry)
    await _answer(visit, route, model, document, raw if body is plain else body, body)
    if visit.opening is not None and visit.session is not None:
        heard = first_answer.heard(visit.entry, visit.path)
        visit.state.sessions.begun(visit.opening, heard, visit.session)


async def _answer(
    visit: Visit, route: Route, model: str | None, document: dict[str, Any], raw: bytes, plain: bytes
) -> None:
    """Answer a JSON request: `raw` is its body as it goes on untouched, `plain` the same without content coding."""
    generation = visit.generation
    if visit.path == "/chat/completions" and generation.house is not None and model is not None:
        from openai_proxy.api import augmented  # a house without augmented models never needs the agent

        house = generation.house
        if (found := house.models.get(model)) is not None:
            await augmented.serve(visit, found, route, document)
            return
        if generation.config.execute_tools and document.get("tools"):
            await augmented.serve_with_tools(visit, route, document, model)
            return

    if visit.path.startswith("/messages"):
        from openai_proxy.api import messages  # only Anthropic's clients ask here

        if model is not None and messages.translates(visit, route, model):
            await messages.serve(visit, route, model, document, plain)
            return

    def make(target: Target) -> UpstreamRequest:
        rules = generation.rules(target.connection, model) if visit.path in CHAT_SHAPED else NONE
        changes = shape(document, rules)
        if target.model is None and not changes:
            return _request(visit, target, raw, recoded=raw is plain)
        members = changes.members()
        if target.model is not None:
            members["model"] = orjson.dumps(target.model)
        return _request(visit, target, edit(plain, members, changes.removed), recoded=True)

    await _pass(visit, route, make)


async def _serve_multipart(visit: Visit) -> None:
    boundary = multipart.boundary_of(visit.request.headers["Content-Type"])
    pieces = visit.body.pieces()
    if visit.redacts:
        pieces = TextFields(boundary, await redacting.cleaner(visit)).through(pieces)
    upload = multipart.ModelField(boundary, pieces)
    try:
        model = await upload.find()
        visit.exchange.model = model
        route = resolve(visit, model)

        def make(target: Target) -> UpstreamRequest:
            request = _request(visit, target, upload.replay(target.model))
            if visit.body.length is not None:
                request.length = visit.body.length + upload.growth(target.model)
            return request

        await _pass(visit, route, make)
    finally:
        upload.close()


def resolve(visit: Visit, model: str | None) -> Route:
    """Where the request goes, for this caller. Raises NotFound; a forbidden model looks like an unknown one."""
    if visit.route is not None:
        return visit.route  # the lane has decided
    generation, caller = visit.generation, visit.exchange.caller
    name = model
    own = steering.own_route(visit, model)
    if model is not None and own is None:
        if not generation.access.may_use(caller, model):
            raise unknown_model(model)
        augmented = generation.snapshot.models.get(model)
        if augmented is not None:
            name = augmented.upstream_model
    route = own or steering.by_backend(visit, name) or generation.router.resolve(name)
    targets = generation.access.reachable(caller, route.targets) if route is not None else ()
    if route is None or not targets:
        if model is None:
            raise NotFound("No connection is configured for this request.", code="no_connection")
        raise unknown_model(model)
    if name != model:  # the body's own name is never what an augmented model is called upstream
        targets = tuple(Target(t.connection, t.model or name) for t in targets)
    if model is None and visit.exchange.method == "POST" and visit.path in NEEDS_MODEL and targets[0].model is None:
        raise BadRequest("The request names no model.", param="model", code="model_required")
    if route.policy == "round_robin":
        targets = generation.upstreams.health.in_turn(route.rule, targets)
    return Route(targets, route.policy, route.rule)


async def _pass(visit: Visit, route: Route, make: MakeRequest) -> None:
    generation = visit.generation
    if visit.failed is not None and not isinstance(visit.failed, UpstreamError):
        raise visit.failed
    opened = await open_first(route.targets, make, generation.upstreams, visit.exchange, visit.first, visit.failed)
    if visit.preface:
        from openai_proxy.api.preface import prefaced

        opened.response = prefaced(opened.response, visit.preface, visit.path)
    await relay(opened, visit.reply, visit.exchange, visit.entry)


def _request(visit: Visit, target: Target, body: object, *, recoded: bool = False) -> UpstreamRequest:
    fields = upstream_fields(visit.request.raw_headers)
    if recoded:
        fields = [field for field in fields if field[0].lower() != b"content-encoding"]
    if visit.preface or visit.opening is not None:  # to be read here
        fields = [field for field in fields if field[0].lower() != b"accept-encoding"]
        fields.append((b"Accept-Encoding", b"identity"))
    return UpstreamRequest(
        visit.exchange.method,
        visit.path,
        visit.query,
        fields,
        body,  # type: ignore[arg-type]  # bytes, an iterable of bytes, or None
        client_authorization=visit.authorization_for(target),
    )


def _streamed(visit: Visit, target: Target) -> UpstreamRequest:
    request = _request(visit, target, visit.body.pieces())
    request.length = visit.body.length
    return request
