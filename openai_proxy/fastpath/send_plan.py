"""What a request head and a model's name decide between them."""

import orjson

from openai_proxy.config.connection import TimeoutConfig
from openai_proxy.exchange import Headers, Target
from openai_proxy.routing.router import Route
from openai_proxy.transforms.params import Rules
from openai_proxy.upstream.openai import OpenAIProvider
from openai_proxy.upstream.pool import Pool


class SendPlan:
    """Where a direct relay goes, and the head it goes with. Immutable by convention; lives with its generation."""

    __slots__ = ("key", "limits", "model", "pool", "provider", "route", "rules", "start", "target")

    def __init__(
        self, route: Route, provider: OpenAIProvider, key: str | None, rules: Rules, path: str, fields: Headers
    ) -> None:
        target: Target = route.targets[0]
        self.target = target
        self.route = route
        self.provider = provider
        self.pool: Pool = provider.pool
        self.limits: TimeoutConfig = provider.limits
        self.key = key
        self.rules = rules or None
        self.model = orjson.dumps(target.model) if target.model is not None else None  # None: as the client wrote it
        self.start = provider.post_head(path, key, fields)
        """The head up to the number of its Content-Length."""
