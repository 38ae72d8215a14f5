"""The Responses API: passed through if the provider has it, translated for all others.

Translated answers are stored for later requests (`store`), because the provider does not know them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.dialects import dialect, json_text
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.estimate import estimate_tokens
from openai_proxy.dialects.responses.needed import is_missing
from openai_proxy.errors import BadRequest
from openai_proxy.pipeline import translated
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document
from openai_proxy.pipeline.passthrough import MakeRequest, ask, relay
from openai_proxy.store.resolve import Resolved, as_items, bring, resolve
from openai_proxy.store.responses import encoded
from openai_proxy.tasks import beside, is_beside
from openai_proxy.upstream.failover import Opened
from openai_proxy.upstream.openai import OpenAIProvider
from openai_proxy.upstream.refusals import PeekedResponse

_PATH: Final = "/responses"
_MISSING: Final = frozenset({404, 405, 501})


async def serve(context: RequestContext, decision: Decision, document: Document, make: MakeRequest) -> None:
    """Answer a Responses request, or one for its token count; `make` builds it for providers that accept it
    directly.
    """
    members = document.exact()
    store, caller = context.state.responses, context.exchange.caller.identity
    await bring(store, caller, members)
    resolved = resolve(store, caller, members)
    turn = None if resolved.missing else await translated.tool_turn(context, decision, resolved.document)
    ours = decision.kind is DecisionKind.AUGMENTED or resolved.ours or turn is not None or bool(context.notice)
    if not ours and _all_native(context, decision):
        opened = await ask_natively(context, decision, make, _PATH)
        if opened is not None:
            await relay(opened, context.reply, context.exchange, context.entry)
            return
    if resolved.missing is not None:
        raise resolved.missing
    if decision.model is None:
        raise BadRequest("The request names no model.", param="model", code="model_required")
    if context.endpoint.name == "input_tokens":
        tokens = await beside(context.large, estimate_tokens, resolved.document)
        counted = {"object": "response.input_tokens", "input_tokens": tokens}
        await context.send(orjson.dumps(counted))
        return
    read = dialect("responses").read_request
    request = await beside(context.large, read, context.endpoint.path, resolved.document)
    request = await _kept(context, resolved, members, request)
    await translated.answer(
        context, decision, None if ours else make, request, turn, published=context.state.shared.written
    )


async def ask_natively(context: RequestContext, decision: Decision, make: MakeRequest, path: str) -> Opened | None:
    """The provider's own answer; None if its server turns out to lack the endpoint `path`, which is remembered."""
    opened = await ask(context, decision, make)
    provider, response = opened.provider, opened.response
    if response.status not in _MISSING or not isinstance(provider, OpenAIProvider):
        return opened
    opened.response = peeked = PeekedResponse(response)
    try:
        error = error_of(json_text.loads(await peeked.peek()), response.status)
    except ValueError:
        error = None
    if not is_missing(response.status, error or {}):
        return opened
    provider.lessons.learn_lack(path)
    response.close()
    return None


def _all_native(context: RequestContext, decision: Decision) -> bool:
    providers = context.generation.providers
    return all(decision.native(providers[target.connection]) for target in decision.route.targets)


async def _kept(
    context: RequestContext, resolved: Resolved, given: dict[str, Any], request: IncomingRequest
) -> IncomingRequest:
    """`request` with its answer stored for later ones, unless the client does not want that."""
    stores, conversation = given.get("store") is not False, given.get("conversation")
    if not stores and conversation is None:
        return request
    store, caller = context.state.responses, context.exchange.caller.identity
    led = await beside(context.large, encoded, as_items(resolved.document.get("input")), context.large)

    loop = asyncio.get_running_loop()

    def keep(response: dict[str, Any]) -> None:
        keeping: list[Callable[[], object]] = [store.keeping(caller, led, response)] if stores else []
        if conversation is not None:
            name = conversation["id"] if isinstance(conversation, dict) else conversation
            added = [*as_items(given.get("input")), *response["output"]]
            keeping.append(lambda: store.add(caller, name, added))
        for each in keeping:
            loop.call_soon_threadsafe(each) if is_beside() else each()

    return replace(request, details=replace(request.details, ended=keep))
