"""What keys restricted to some models may do: `allowed_models` applies however a model is requested.

Such a key may use endpoints that name an allowed model, and those that cannot generate and neither change nor read
account data (`Endpoint.restricted`). Files, batches, fine-tuning, stored answers and unknown paths are excluded:
through them any model could be used, or other callers' data read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from openai_proxy.auth.access import Access
from openai_proxy.endpoints import ANY, NAMED, Endpoint
from openai_proxy.errors import NotFound, ProxyError, unknown_model
from openai_proxy.exchange import Caller, Target

_HARMLESS_ROUTE: Final = frozenset({"", "fallback"})
_CONTENT: Final = frozenset(
    {
        "model", "messages", "input", "prompt", "system", "instructions", "contents", "systemInstruction",
        "system_instruction", "functions", "response_format", "text", "metadata", "prediction", "query", "documents",
    }
)  # fmt: skip
"""Members with messages, schemas and labels: a `model` in them has no effect."""

_SCHEMAS: Final = frozenset(
    {
        "function", "functionDeclarations", "function_declarations", "input_schema", "inputSchema", "schema", "format",
        "properties", "$defs", "definitions",
    }
)  # fmt: skip
_MODELS: Final = re.compile(r"(?:(?:.*_)?(?i:models?|fallbacks)|.*Models?)(?:_?(?i:id|name)s?)?")
"""Members that name models, wherever they stand: OpenRouter's, LiteLLM's and Vercel's fallbacks, tools and plugins with
their own model, Groq's `compound_custom.models` (https://openrouter.ai/docs/features/model-routing). Case is
ignored, as by Go's encoding/json."""

_ROUTES: Final = frozenset({"route", "preset"})
_OF_THE_ACCOUNT: Final = frozenset({"call_id"})
"""Query members with which a WebSocket joins a session that somebody else has started
(https://platform.openai.com/docs/guides/realtime-server-controls)."""

_MAX_DEPTH: Final = 12


def may_name_others(document: Mapping[str, Any]) -> bool:
    """False if nothing in a request's JSON body can name a model besides `model`."""
    return any(
        name not in _CONTENT and (type(value) in (dict, list) or name.lower() in _ROUTES or names_models(name))
        for name, value in document.items()
    )


def other_models(document: Mapping[str, Any]) -> list[str]:
    """The models that a request's JSON body names besides `model`; "" for what is not understood, which is never
    allowed.
    """
    found: list[str] = []
    for name, value in document.items():
        if name == "tools":
            for tool in value if isinstance(value, list) else ():
                found += _named_in(tool, "parameters" if _is_clients(tool) else "")
        elif name.lower() in _ROUTES:
            if value is not None and not (name == "route" and isinstance(value, str) and value in _HARMLESS_ROUTE):
                found += _names([value])
        elif names_models(name) and name != "model" and value is not None:
            found += _names(_listed(value))
        elif name not in _CONTENT:
            found += _named_in(value)
    return found


def names_models(name: str) -> bool:
    """True for the name of a member that contains one or several model names."""
    return _MODELS.fullmatch(name) is not None


def models_named_in(message: Mapping[str, Any]) -> list[str]:
    """The models that a WebSocket message names at any depth; "" for values that are not understood."""
    return list(_named_in(message))


def query_members(query: str) -> list[tuple[str, str]]:
    """The members of a query as any server might read them: some also split at semicolons."""
    pairs = (part.partition("=") for part in re.split("[&;]", query))
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]


def _is_clients(tool: Any) -> bool:
    """True for a tool that the client runs itself, whose `parameters` are a schema."""
    return isinstance(tool, dict) and tool.get("type") in (None, "function", "custom")


def _named_in(value: Any, but: str = "", depth: int = 0) -> Iterator[str]:
    """The models that members of `value` name, at any depth; the member `but` is a schema, and left out."""
    if depth > _MAX_DEPTH:
        yield ""
    elif isinstance(value, list):
        for entry in value:
            yield from _named_in(entry, depth=depth + 1)
    elif isinstance(value, dict):
        for name, member in value.items():
            if name in _SCHEMAS or name == but:
                continue
            if names_models(name):
                if isinstance(member, str | list | dict):
                    yield from _names(_listed(member))
            else:
                yield from _named_in(member, depth=depth + 1)


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
    query: str,
) -> ProxyError | None:
    """Why a caller restricted to some models, who may use `model`, is refused nevertheless; None if not."""
    if endpoint.restricted == ANY:
        return None
    if endpoint.restricted != NAMED:
        return _not_here()
    if model is None and not all(target.model and access.may_use(caller, target.model) for target in targets):
        return _not_here()
    members = query_members(query) if query else []
    if any(name.lower() in _OF_THE_ACCOUNT for name, _ in members):
        return _not_here()
    named = [value for name, value in members if names_models(name.rstrip("[]"))]
    for name in [*named, *(other_models(document) if document else ())]:
        if not access.may_use(caller, name):
            return unknown_model(name)
    return None


def _not_here() -> NotFound:
    return NotFound(
        "This key is restricted to some models. It may not use this endpoint, or the request names no model.",
        code="endpoint_not_allowed",
    )
