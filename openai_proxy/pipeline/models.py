"""`GET /v1/models` and `/v1/models/{id}`: what this caller may ask for, from memory."""

from urllib.parse import unquote

import orjson

from openai_proxy.decision.visible import may_ask, visible_models
from openai_proxy.errors import unknown_model
from openai_proxy.exchange import Caller
from openai_proxy.routing.listing import model_object
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.server.reply import Reply


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
