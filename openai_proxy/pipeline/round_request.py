"""The document of one round of a turn for one target: what parameters, the provider and its prompt cache ask for."""

from hashlib import blake2b
from typing import Any, Final

from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.dialects.fitting import for_connection
from openai_proxy.dialects.prompt_cache import CHAT, CLAUDE, marks
from openai_proxy.exchange import Target
from openai_proxy.runtime.generation import Generation
from openai_proxy.transforms.params import shape
from openai_proxy.upstream.openai import OpenAIProvider

_OURS: Final = ("stream", "tools")
"""Members of an upstream request that the loop itself decides, whatever `params` say."""

_KEY: Final = "prompt_cache_key"


def cache_key(model: str) -> str:
    """What tells OpenAI which requests begin alike: the same for all requests of an augmented model.

    https://platform.openai.com/docs/guides/prompt-caching#how-it-works
    """
    return f"openai-proxy-{blake2b(model.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def round_document(
    generation: Generation, decision: Decision, target: Target, body: dict[str, Any], tail: str = ""
) -> dict[str, Any]:
    """`body`, a chat request of the agent's, as `target` is to be asked; `body` itself stays as it is.

    `tail` is what ends the newest user message of an augmented model's turn and changes from turn to turn.
    """
    provider = generation.providers[target.connection]
    augmented = decision.kind is DecisionKind.AUGMENTED
    asked = body
    if augmented and isinstance(provider, OpenAIProvider) and _KEY not in body:
        asked = {**body, _KEY: cache_key(str(decision.model))}
    shaped = shape(asked, decision.rules[target.connection]).applied(asked)
    shaped.update({name: body[name] for name in _OURS if name in body})
    shaped["model"] = target.model or decision.name
    shaped = for_connection(shaped, provider.api_type)
    if augmented:
        shaped.update(marks(shaped, tail, CLAUDE if provider.api_type == "anthropic" else CHAT))
    return provider.fitted(shaped) if isinstance(provider, OpenAIProvider) else shaped
