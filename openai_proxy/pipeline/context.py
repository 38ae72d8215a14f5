"""One request being served: everything its handlers need, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp.web_request import BaseRequest

from openai_proxy.auth.limits import Allowance
from openai_proxy.auth.peers import field_lines
from openai_proxy.decision.begin import begin
from openai_proxy.decision.decide import Decision, asked_model, decide, decided
from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import Exchange, Target
from openai_proxy.records.recording.entry import Entry
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.reply import Reply
from openai_proxy.server.request_body import RequestBody
from openai_proxy.transforms.sessions import Session
from openai_proxy.upstream.failover import Opened

if TYPE_CHECKING:
    from openai_proxy.runtime.augmented_models import AugmentedModels


@dataclass(slots=True)
class RequestContext:
    """A request being served by the pipeline. `query` is raw."""

    state: ProxyState
    generation: Generation
    request: BaseRequest
    reply: Reply
    exchange: Exchange
    body: RequestBody
    query: str
    entry: Entry
    decision: Decision | None = None  # what the fast path has decided
    targets: tuple[Target, ...] = ()  # in the order in which the fast path began to ask them
    first: Opened | None = None  # an answer the fast path has opened already
    failed: ProxyError | None = None  # what came of the fast path's attempt instead
    document: dict[str, Any] | None = None  # the JSON body, once read
    client_authorization: bytes | None = None  # the caller's own bearer; see authorization_for
    session: Session | None = None  # what was set by command, once anything was
    opening: tuple[str, str] | None = None  # by what a conversation without a name will be found again
    large: bool = False  # nothing that looks at all of the body may be done on the event loop
    notice: str = ""  # what interactive mode says before the answer

    @property
    def endpoint(self) -> Endpoint:
        """What is asked."""
        return self.exchange.endpoint

    @property
    def whole_path(self) -> str:
        """The endpoint's path with the query, as a dialect reads it."""
        return f"{self.endpoint.path}?{self.query}" if self.query else self.endpoint.path

    @property
    def content_type(self) -> str:
        """The media type of the body, lower case, without parameters."""
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def content_codings(self) -> str:
        """What the Content-Encoding says, all its lines together; "" where the body is as it is."""
        codings = ",".join(field_lines(self.request.headers, "Content-Encoding"))
        return "" if codings.strip(" \t,").lower() in ("", "identity") else codings

    @property
    def redacts(self) -> bool:
        """True if secrets are to be taken out of what goes upstream."""
        if self.session is not None and self.session.redact is not None:
            return self.session.redact
        return self.generation.config.redact_api_keys_in_prompts

    def asked_model(self, document: dict[str, Any]) -> str | None:
        """The model that a request with this JSON body is for. Raises BadRequest if it is not a string."""
        if self.session is not None and self.session.model is not None:
            return self.session.model
        path = self.endpoint.path
        if self.endpoint.dialect == "gemini":
            return unquote(path[len("/models/") : path.rindex(":")])
        model = asked_model(document)
        if model is not None and self.endpoint.dialect == "ollama":
            return self.generation.untagged(model)
        return model

    def wants_stream(self, document: dict[str, Any]) -> bool:
        """Whether a request with this JSON body is to be answered piece by piece."""
        dialect = self.endpoint.dialect
        if dialect == "gemini":
            return self.endpoint.name == "stream_generate_content"
        if dialect == "ollama":
            return self.endpoint.generates and document.get("stream") is not False
        return document.get("stream") is True

    def decide(self, model: str | None) -> Decision:
        """What is to be done with the request, which asks for `model`. Raises ProxyError where it is refused."""
        self.exchange.model = model
        if self.decision is None:
            self.decision = decided(
                decide(self.generation, self.exchange.caller, self.endpoint, model, self.session, self.document)
            )
        return self.decision

    async def reserve(self, decision: Decision) -> None:
        """Set aside what the request may cost under its group's budget. Raises BudgetExceeded."""
        allowance = self.exchange.allowance
        if isinstance(allowance, Allowance) and allowance.budget is not None:
            await self.state.spendings.reserve(
                self.exchange, allowance.budget, decision.route.targets[0], self.body.size, self.document or {}
            )

    def begin(self, decision: Decision) -> tuple[Target, ...]:
        """The targets in the order in which they are to be asked. Raises UpstreamError; see `decision.begin`."""
        if not self.targets:
            self.exchange.priority = self.generation.priority(self.exchange.caller.group, decision.model)
            try:
                self.targets = begin(decision, self.generation.upstreams)
            except UpstreamError as error:
                self.exchange.connection, self.exchange.cause = decision.route.targets[0].connection, error.cause
                raise
        return self.targets

    def authorization_for(self, target: Target) -> bytes | None:
        """The caller's own Authorization where it goes to `target` in place of a key of ours, else None."""
        connection = self.generation.config.connections.get(target.connection)  # the built-in echo has none
        return self.client_authorization if connection is not None and connection.forward_auth else None

    def follow(self, generation: Generation) -> None:
        """Go on under another configuration: the one this very request has brought about."""
        self.generation = generation
        self.state.move(self.exchange, generation)

    @property
    def augmented(self) -> AugmentedModels:
        """The augmented models and tools of this configuration; only where there are any."""
        augmented = self.generation.augmented
        assert augmented is not None
        return augmented
