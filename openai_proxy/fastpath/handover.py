"""What the fast path passes to the pipeline for a request that it cannot finish."""

from openai_proxy.decision.decide import Decision
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Exchange, Outcome, Target
from openai_proxy.records.recording.entry import Entry
from openai_proxy.runtime.generation import Generation
from openai_proxy.upstream.failover import Opened


class Handover:
    """The body of the request, and the attempt made, if any. A `server.fast_path.ReturnedRequest`."""

    __slots__ = ("body", "decision", "entry", "error", "exchange", "generation", "opened", "targets")

    def __init__(
        self,
        body: bytes,
        generation: Generation,
        exchange: Exchange | None = None,
        entry: Entry | None = None,
        decision: Decision | None = None,
        targets: tuple[Target, ...] = (),
        opened: Opened | None = None,
        error: ProxyError | None = None,
    ) -> None:
        self.body = body
        self.generation = generation
        self.exchange = exchange
        self.entry = entry
        self.decision = decision
        self.targets = targets  # in the order of `begin`, once that was called
        self.opened = opened
        self.error = error

    def abandon(self) -> None:
        """The client disconnected before the request was taken up again."""
        if self.exchange is not None and self.entry is not None:
            self.exchange.release()
            self.entry.close(Outcome.CLIENT_CLOSED)
