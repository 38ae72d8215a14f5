"""`/v1/messages` for every model: bytes through to Anthropic connections, translated for all others.

So Anthropic's clients can use any model of the house, augmented ones too.
API: https://docs.anthropic.com/en/api/messages
"""

from typing import Any

import orjson

from openai_proxy.agent import run as agent
from openai_proxy.agent.refusal import UpstreamRefused
from openai_proxy.agent.turn import Turn
from openai_proxy.dialects import dialect, json_text
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.messages.read_request import estimate_tokens
from openai_proxy.errors import UpstreamError
from openai_proxy.exchange import Target, UpstreamRequest, UpstreamResponse
from openai_proxy.pipeline import augmented
from openai_proxy.pipeline.command_notice import prefaced
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.passthrough import check_answer, relay
from openai_proxy.protocols.json_members import edit
from openai_proxy.routing.router import Route
from openai_proxy.server.headers import upstream_fields
from openai_proxy.tasks import spawn
from openai_proxy.transforms.params import shape
from openai_proxy.upstream.client_dialect import as_dialect
from openai_proxy.upstream.failover import Opened, open_first
from openai_proxy.upstream.inprocess import BytesResponse, ChunksResponse

COUNT = "/messages/count_tokens"
_NOT_FOR_CHAT = (b"accept-encoding", b"content-type", b"content-encoding", b"anthropic-version", b"anthropic-beta")


def translates(context: RequestContext, route: Route, model: str | None) -> bool:
    """True if a Messages request for `model` must be translated for one of its targets at least."""
    if context.exchange.method != "POST" or model is None:
        return False
    providers = context.generation.providers
    house = context.generation.augmented
    if house is not None and model in house.models:
        return True
    return any(providers[target.connection].api_type != "anthropic" for target in route.targets)


async def serve(context: RequestContext, route: Route, model: str, document: dict[str, Any], plain: bytes) -> None:
    """Answer a Messages request for a model that is not (or not only) Anthropic's."""
    if context.path == COUNT:
        await context.reply.send(200, orjson.dumps({"input_tokens": estimate_tokens(document)}))
        return
    messages = dialect("messages")
    request = messages.read_request(context.path, document)
    if request.dropped:
        context.reply.extra.append(("x-proxy-dropped", ", ".join(request.dropped)))
    house = context.generation.augmented
    found = house.models.get(model) if house is not None else None
    if found is not None:
        response = await _augmented(context, await augmented.turn_for(context, found, route, request.chat))
        if context.preface:
            response = prefaced(response, context.preface)
        target = route.targets[0]
        answer = await as_dialect(response, messages, request, model, connection=target.connection)
        opened = Opened(answer, context.generation.providers[target.connection], target, None)
        await relay(opened, context.reply, context.exchange, context.entry)
        return
    await _plain(context, route, model, document, plain, request)


async def _augmented(context: RequestContext, turn: Turn) -> UpstreamResponse:
    try:
        answer = await agent.start(turn)
        if turn.body.get("stream") is True:
            pieces = answer.chunks()

            def end() -> None:
                spawn(pieces.aclose(), name="end of an agent's turn")

            return ChunksResponse(pieces, on_close=end)
        return BytesResponse(orjson.dumps(await answer.completion()))
    except UpstreamRefused as refused:
        return BytesResponse(refused.body, status=refused.status)


async def _plain(
    context: RequestContext, route: Route, model: str, document: dict[str, Any], plain: bytes, incoming: IncomingRequest
) -> None:
    generation = context.generation
    chat = incoming.chat

    def make(target: Target) -> UpstreamRequest:
        fields = upstream_fields(context.request.raw_headers)
        rules = generation.rules(target.connection, model)
        if generation.providers[target.connection].api_type == "anthropic":
            changes = shape(document, rules)
            members = changes.members()
            if target.model is not None:
                members["model"] = orjson.dumps(target.model)
            body = edit(plain, members, changes.removed) if members or changes.removed else plain
            path = context.path
            fields = [f for f in fields if f[0].lower() != b"content-encoding"]
        else:
            shaped = shape(chat, rules).applied(chat)
            ours = {"stream": chat["stream"]} if "stream" in chat else {}  # what the client is to get
            body = json_text.dumps({**shaped, **ours, "model": target.model or model})
            path = "/chat/completions"
            fields = [f for f in fields if f[0].lower() not in _NOT_FOR_CHAT]
            fields += [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"identity")]
        return UpstreamRequest(
            "POST", path, context.query, fields, body, client_authorization=context.authorization_for(target)
        )

    opened = await open_first(route.targets, make, generation.upstreams, context.exchange)
    if opened.provider.api_type != "anthropic":
        try:
            read = await check_answer(opened)
            response = opened.response
            if read:
                response = BytesResponse(b"".join(read), status=response.status, headers=_kept(response))
                opened.response.close()
            if context.preface:
                response = prefaced(response, context.preface)
            connection = opened.target.connection
            answer = await as_dialect(response, dialect("messages"), incoming, model, connection=connection)
        except UpstreamError:
            opened.response.close()
            raise
        opened = Opened(answer, opened.provider, opened.target, None)
    elif context.preface:
        opened.response = prefaced(opened.response, context.preface, context.path)
    await relay(opened, context.reply, context.exchange, context.entry)


def _kept(response: UpstreamResponse) -> list[tuple[bytes, bytes]]:
    return [f for f in response.headers if f[0].lower() not in (b"content-length", b"transfer-encoding")]
