"""What the fast path hands to the pipeline when a request needs a second look."""

from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.recording.entry import Entry
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.upstream.failover import Opened


class Handover:
    """The body of the request, and what was tried, if anything. A `server.connection.Handover`."""

    __slots__ = ("body", "entry", "error", "exchange", "generation", "opened", "route")

    def __init__(
        self,
        body: bytes,
        generation: Generation,
        exchange: Exchange | None = None,
        entry: Entry | None = None,
        route: Route | None = None,
        opened: Opened | None = None,
        error: ProxyError | None = None,
    ) -> None:
        self.body = body
        self.generation = generation
        self.exchange = exchange
        self.entry = entry
        self.route = route
        self.opened = opened
        self.error = error

    def abandon(self) -> None:
        """The client left before the request was taken up again."""
        if self.exchange is not None and self.entry is not None:
            self.exchange.release()
            self.entry.close(Outcome.CLIENT_CLOSED)
