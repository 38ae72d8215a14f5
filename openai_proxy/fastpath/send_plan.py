"""How a decided request is sent, as determined by its head and the model's name."""

import orjson

from openai_proxy.config.connection import TimeoutConfig
from openai_proxy.decision.decide import Decision
from openai_proxy.exchange import Headers, Target
from openai_proxy.upstream.openai import OpenAIProvider
from openai_proxy.upstream.pool import Pool


class SendPlan:
    """The target of a direct relay, and the head to send. Immutable by convention; lives with its generation."""

    __slots__ = (
        "decision",
        "key",
        "learnt",
        "lessons",
        "limits",
        "model",
        "pool",
        "provider",
        "rules",
        "secrets",
        "start",
        "target",
        "targets",
    )

    def __init__(
        self,
        decision: Decision,
        targets: tuple[Target, ...],
        provider: OpenAIProvider,
        key: str | None,
        fields: Headers,
    ) -> None:
        """`targets` in the order of `begin`; `provider` is the first one's, used with `key` and these `fields`."""
        target = targets[0]
        self.decision = decision
        self.targets = targets
        self.target = target
        self.provider = provider
        self.lessons = provider.lessons
        self.learnt: int = provider.lessons.version  # when this was planned
        self.pool: Pool = provider.pool
        self.limits: TimeoutConfig = provider.limits
        self.key = key
        self.secrets = provider.credentials(key)
        self.rules = decision.rules[target.connection] or None
        self.model = orjson.dumps(target.model) if target.model is not None else None  # None: as the client wrote it
        self.start = provider.post_head(decision.endpoint.path, key, fields)
        """The head up to the number of its Content-Length."""
