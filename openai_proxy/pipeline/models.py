"""`GET /v1/models` and `/v1/models/{id}`: what this caller may ask for, from memory."""

from typing import Any
from urllib.parse import unquote

import orjson

from openai_proxy.decision.decide import Decision, decide
from openai_proxy.endpoints import at
from openai_proxy.errors import unknown_model
from openai_proxy.exchange import Caller
from openai_proxy.routing.listing import Models, listed_models, model_object
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.server.reply import Reply

CHAT = at("/chat/completions")
"""A model is listed if it would be served here."""


async def visible_models(state: State, generation: Generation, caller: Caller) -> list[dict[str, Any]]:
    """All models, as far as `caller` may use them."""
    models = every_model(generation, await state.catalog.models())
    return [model for model in models if may_ask(generation, caller, model["id"])]


def every_model(generation: Generation, offered: Models) -> list[dict[str, Any]]:
    """Augmented models first, then what the routing rules and connections make of what is `offered`."""
    config = generation.config
    augmented = [
        model_object(
            model.name,
            {"owned_by": model.owned_by, **({"description": model.description} if model.description else {})},
        )
        for model in generation.snapshot.models.values()
    ]
    listed = listed_models(generation.router, offered, config.model_listing_mode, prefixed=config.model_listing_prefix)
    names = {model["id"] for model in augmented}
    return augmented + [model for model in listed if model["id"] not in names]


def may_ask(generation: Generation, caller: Caller, name: str) -> bool:
    """True if a request of `caller` for `name` would be served."""
    return isinstance(decide(generation, caller, CHAT, name), Decision)


async def list_models(state: State, generation: Generation, caller: Caller, reply: Reply) -> None:
    """The list."""
    models = await visible_models(state, generation, caller)
    await reply.send(200, orjson.dumps({"object": "list", "data": models}))


async def show_model(state: State, generation: Generation, caller: Caller, reply: Reply, raw_id: str) -> None:
    """One model; ids contain slashes. Raises NotFound for what nobody offers.

    `connection:model` may be asked for past all rules, so it is shown too, listed or not.
    """
    wanted = unquote(raw_id)
    for model in await visible_models(state, generation, caller):
        if model["id"] == wanted:
            await reply.send(200, orjson.dumps(model))
            return
    connection, _, name = wanted.partition(":")
    known = state.catalog.find(connection, name) if connection in generation.config.connections else None
    if known is None or not may_ask(generation, caller, wanted):
        raise unknown_model(wanted)
    await reply.send(200, orjson.dumps(model_object(wanted, known)))
