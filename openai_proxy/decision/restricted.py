"""What keys may do that are restricted to some models: `allowed_models` means models, by whatever way they are asked.

Such a key may use endpoints that name an allowed model, and those that cannot generate and neither change nor read what
belongs to the account (`Endpoint.restricted`). Files, batches, fine-tuning, stored answers and paths nobody has
described are none of these: with them any model could be reached, or what others put there.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from openai_proxy.auth.access import Access
from openai_proxy.endpoints import ANY, NAMED, Endpoint
from openai_proxy.errors import NotFound, ProxyError, unknown_model
from openai_proxy.exchange import Caller, Target

OTHER_MODELS: Final = frozenset({"models", "fallbacks", "route", "preset", "tools"})
"""Members by which a request may name models besides `model`: OpenRouter's and LiteLLM's fallbacks, and tools with a
model of their own (https://openrouter.ai/docs/features/model-routing)."""

_HARMLESS_ROUTE: Final = frozenset({"", "fallback"})


def other_models(document: Mapping[str, Any]) -> list[str]:
    """The models a request's JSON body names besides `model`; "" for what is not understood: nobody's model."""
    found: list[str] = []
    for name in ("models", "fallbacks"):
        if (value := document.get(name)) is not None:
            found += _names(value if isinstance(value, list) else [value])
    route, preset, tools = document.get("route"), document.get("preset"), document.get("tools")
    if route is not None and route not in _HARMLESS_ROUTE:
        found += _names([route])
    if preset is not None:
        found += _names([preset])
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and "model" in tool:
            found += _names([tool["model"]])
    return found


def _names(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, dict):
            inner = [value["model"]] if "model" in value else [x for each in value.values() for x in _listed(each)]
            yield from _names(inner or [None])
        else:
            yield value if isinstance(value, str) else ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def refusal(
    access: Access,
    caller: Caller,
    endpoint: Endpoint,
    model: str | None,
    targets: Iterable[Target],
    document: Mapping[str, Any] | None,
) -> ProxyError | None:
    """Why a caller who is restricted to some models, and may use `model`, is refused all the same; None if not."""
    if endpoint.restricted == ANY:
        return None
    if endpoint.restricted != NAMED:
        return _not_here()
    if model is None and not all(target.model and access.may_use(caller, target.model) for target in targets):
        return _not_here()
    for name in other_models(document) if document else ():
        if not access.may_use(caller, name):
            return unknown_model(name)
    return None


def _not_here() -> NotFound:
    return NotFound(
        "This key is for some models only. This endpoint is not among what it may use, or the request names no model.",
        code="endpoint_not_allowed",
    )
