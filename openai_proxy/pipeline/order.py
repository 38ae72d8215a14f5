"""The order of things for every request to the API, on one page.

    identify    pipeline.dispatch: the gate admits the caller
    read        the body, as far as the route needs it
    limit       what the caller's group may use
    command     in-chat commands act on the session
    route       the asked-for name becomes targets
    shape       the body as each target is to see it
    answer      pass through, or run the agent
    record      records.recording.recorder, from a copy

What passes through byte for byte takes the same steps in `fastpath.fast_connection`, in one callback.
"""

from collections.abc import Callable
from typing import Any

import orjson

from openai_proxy.decision.asked import CHAT_SHAPED, asked_model
from openai_proxy.errors import BadRequest, NotFound, UpstreamError, unknown_model
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline import answer_text, multipart, redacting, steering
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.form_text import TextFields
from openai_proxy.pipeline.passthrough import relay
from openai_proxy.protocols.json_members import edit, parse_object
from openai_proxy.routing.router import Route
from openai_proxy.server.content_codings import decoded
from openai_proxy.server.headers import upstream_fields
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


async def serve(context: RequestContext) -> None:
    """Answer one API request. Raises ProxyError before anything was sent."""
    content_type = context.request.headers.get("Content-Type", "").lower()
    if not context.body.present:
        await _pass(context, resolve(context, None), lambda target: _request(context, target, None))
    elif content_type.startswith("multipart/"):
        await _serve_multipart(context)
    elif context.path in JSON_PATHS or content_type.partition(";")[0].rstrip().endswith("json"):
        await _serve_json(context)
    else:
        await _pass(context, resolve(context, None), lambda target: _streamed(context, target))


async def _serve_json(context: RequestContext) -> None:
    raw = await context.body.whole()
    coding = context.request.headers.get("Content-Encoding", "")
    plain = decoded(raw, coding, context.body.limit) if coding else raw
    document = parse_object(plain)
    context.exchange.model = asked_model(document)
    context.exchange.stream = document.get("stream") is True
    logged = redacting.for_the_log(context, plain, document)
    body = plain
    if steering.may_concern(context, plain):
        steered = await steering.steer(context, plain, document)
        if steered is None:
            return
        body, document = steered
    body, document = await redacting.clean(context, body, document)
    context.document = document
    model = context.exchange.model = asked_model(document)
    route = resolve(context, model)
    context.entry.request(logged)
    if context.opening is not None:
        answer_text.listen(context.entry)
    await _answer(context, route, model, document, raw if body is plain else body, body)
    if context.opening is not None and context.session is not None:
        heard = answer_text.heard(context.entry, context.path)
        context.state.sessions.begun(context.opening, heard, context.session)


async def _answer(
    context: RequestContext, route: Route, model: str | None, document: dict[str, Any], raw: bytes, plain: bytes
) -> None:
    """Answer a JSON request: `raw` is its body as it goes on untouched, `plain` the same without content coding."""
    generation = context.generation
    if context.path == "/chat/completions" and generation.augmented is not None and model is not None:
        from openai_proxy.pipeline import augmented

        house = generation.augmented
        if (found := house.models.get(model)) is not None:
            await augmented.serve(context, found, route, document)
            return
        if generation.config.execute_tools and document.get("tools"):
            await augmented.serve_with_tools(context, route, document, model)
            return

    if context.path.startswith("/messages"):
        from openai_proxy.pipeline import messages

        if model is not None and messages.translates(context, route, model):
            await messages.serve(context, route, model, document, plain)
            return

    def make(target: Target) -> UpstreamRequest:
        rules = generation.rules(target.connection, model) if context.path in CHAT_SHAPED else NONE
        changes = shape(document, rules)
        if target.model is None and not changes:
            return _request(context, target, raw, recoded=raw is plain)
        members = changes.members()
        if target.model is not None:
            members["model"] = orjson.dumps(target.model)
        return _request(context, target, edit(plain, members, changes.removed), recoded=True)

    await _pass(context, route, make)


async def _serve_multipart(context: RequestContext) -> None:
    boundary = multipart.boundary_of(context.request.headers["Content-Type"])
    pieces = context.body.pieces()
    if context.redacts:
        pieces = TextFields(boundary, await redacting.cleaner(context)).through(pieces)
    upload = multipart.ModelField(boundary, pieces)
    try:
        model = await upload.find()
        context.exchange.model = model
        route = resolve(context, model)

        def make(target: Target) -> UpstreamRequest:
            request = _request(context, target, upload.replay(target.model))
            if context.body.length is not None:
                request.length = context.body.length + upload.growth(target.model)
            return request

        await _pass(context, route, make)
    finally:
        upload.close()


def resolve(context: RequestContext, model: str | None) -> Route:
    """Where the request goes, for this caller. Raises NotFound; a forbidden model looks like an unknown one."""
    if context.route is not None:
        return context.route  # the lane has decided
    generation, caller = context.generation, context.exchange.caller
    name = model
    own = steering.own_route(context, model)
    if model is not None and own is None:
        if not generation.access.may_use(caller, model):
            raise unknown_model(model)
        augmented = generation.snapshot.models.get(model)
        if augmented is not None:
            name = augmented.upstream_model
    route = own or steering.by_backend(context, name) or generation.router.resolve(name)
    targets = generation.access.reachable(caller, route.targets) if route is not None else ()
    if route is None or not targets:
        if model is None:
            raise NotFound("No connection is configured for this request.", code="no_connection")
        raise unknown_model(model)
    if name != model:  # the body's own name is never what an augmented model is called upstream
        targets = tuple(Target(t.connection, t.model or name) for t in targets)
    if model is None and context.exchange.method == "POST" and context.path in NEEDS_MODEL and targets[0].model is None:
        raise BadRequest("The request names no model.", param="model", code="model_required")
    if route.policy == "round_robin":
        targets = generation.upstreams.health.in_turn(route.rule, targets)
    return Route(targets, route.policy, route.rule)


async def _pass(context: RequestContext, route: Route, make: MakeRequest) -> None:
    generation = context.generation
    if context.failed is not None and not isinstance(context.failed, UpstreamError):
        raise context.failed
    opened = await open_first(
        route.targets, make, generation.upstreams, context.exchange, context.first, context.failed
    )
    if context.preface:
        from openai_proxy.pipeline.command_notice import prefaced

        opened.response = prefaced(opened.response, context.preface, context.path)
    await relay(opened, context.reply, context.exchange, context.entry)


def _request(context: RequestContext, target: Target, body: object, *, recoded: bool = False) -> UpstreamRequest:
    fields = upstream_fields(context.request.raw_headers)
    if recoded:
        fields = [field for field in fields if field[0].lower() != b"content-encoding"]
    if context.preface or context.opening is not None:  # to be read here
        fields = [field for field in fields if field[0].lower() != b"accept-encoding"]
        fields.append((b"Accept-Encoding", b"identity"))
    return UpstreamRequest(
        context.exchange.method,
        context.path,
        context.query,
        fields,
        body,  # type: ignore[arg-type]  # bytes, an iterable of bytes, or None
        client_authorization=context.authorization_for(target),
    )


def _streamed(context: RequestContext, target: Target) -> UpstreamRequest:
    request = _request(context, target, context.body.pieces())
    request.length = context.body.length
    return request
