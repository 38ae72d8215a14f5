"""A chat request of ours for one target: parameters, the provider's needs and its prompt cache."""

from hashlib import blake2b
from typing import Any, Final

from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.dialects.fitting import for_connection
from openai_proxy.dialects.prompt_cache import CHAT, CLAUDE, marks
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.runtime.generation import Generation
from openai_proxy.server.headers import upstream_fields
from openai_proxy.transforms.params import shape
from openai_proxy.upstream.openai import OpenAIProvider

OF_A_ROUND: Final = ("stream", "tools")
"""Members of an upstream request that the loop decides, whatever `params` say."""

_NOT_FOR_US: Final = frozenset(
    {b"accept-encoding", b"content-type", b"content-encoding", b"accept", b"anthropic-version", b"anthropic-beta"}
)
"""Header fields about the client's own body and answer, such as versions and betas of an API."""

_KEY: Final = "prompt_cache_key"


def cache_key(model: str) -> str:
    """OpenAI's `prompt_cache_key` for requests that begin alike: the same for all requests of an augmented model.

    https://platform.openai.com/docs/guides/prompt-caching#how-it-works
    """
    return f"openai-proxy-{blake2b(model.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def round_document(
    generation: Generation,
    decision: Decision,
    target: Target,
    body: dict[str, Any],
    tail: str = "",
    kept: tuple[str, ...] = OF_A_ROUND,
) -> dict[str, Any]:
    """`body`, a chat request, adapted to `target`; `body` itself is not modified, and its `kept` members stay.

    `tail` is the end of the newest user message of an augmented model's turn that changes every turn.
    """
    provider = generation.providers[target.connection]
    augmented = decision.kind is DecisionKind.AUGMENTED
    upstream_body = body
    if augmented and isinstance(provider, OpenAIProvider) and _KEY not in body:
        upstream_body = {**body, _KEY: cache_key(str(decision.model))}
    shaped = shape(upstream_body, decision.rules[target.connection]).applied(upstream_body)
    shaped.update({name: body[name] for name in kept if name in body})
    shaped["model"] = target.model or decision.name
    shaped = for_connection(shaped, provider.api_type)
    if augmented:
        shaped.update(marks(shaped, tail, CLAUDE if provider.api_type == "anthropic" else CHAT))
    return provider.fitted(shaped) if isinstance(provider, OpenAIProvider) else shaped


def chat_request(
    context: RequestContext,
    target: Target,
    body: bytes,
    document: dict[str, Any] | None,
    path: str = CHAT_PATH,
) -> UpstreamRequest:
    """The POST of `body`, written here; `document` is the same parsed, if it is known."""
    fields = [field for field in upstream_fields(context.request.raw_headers) if field[0].lower() not in _NOT_FOR_US]
    fields += [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"identity")]
    own = context.authorization_for(target)
    return UpstreamRequest("POST", path, "", fields, body, client_authorization=own, document=document)
