"""Which models a caller may use, decided as for a request for each."""

from typing import Any

from openai_proxy.decision.decide import Decision, decide
from openai_proxy.endpoints import CHAT_PATH, at
from openai_proxy.exchange import Caller
from openai_proxy.routing.listing import Models, listed_models, model_object
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState

CHAT = at(CHAT_PATH)
"""A model is listed if it would be served here."""


async def visible_models(state: ProxyState, generation: Generation, caller: Caller) -> list[dict[str, Any]]:
    """All models that `caller` may use."""
    models = every_model(generation, await state.catalog.models())
    return [model for model in models if may_ask(generation, caller, model["id"])]


def every_model(generation: Generation, offered: Models) -> list[dict[str, Any]]:
    """Augmented models first, then the `offered` ones according to routing rules and connections."""
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
