"""One request being served: everything its handlers need, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp.web_request import BaseRequest

from openai_proxy.auth.limits import Allowance
from openai_proxy.auth.peers import field_lines
from openai_proxy.bounds import requested_model
from openai_proxy.decision.begin import begin
from openai_proxy.decision.decide import Decision, decide, decided
from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import Exchange, Target
from openai_proxy.records.recording.entry import Entry
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.content_codings import unpacked
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
    decision: Decision | None = None  # the fast path's decision
    targets: tuple[Target, ...] = ()  # in the order in which the fast path tried them
    first: Opened | None = None  # an answer that the fast path has already opened
    failed: ProxyError | None = None  # the error of the fast path's attempt instead
    document: dict[str, Any] | None = None  # the JSON body, once read
    client_authorization: bytes | None = None  # the caller's own bearer token; see authorization_for
    session: Session | None = None  # settings made by command, if any
    opening: tuple[str, str] | None = None  # identifies a conversation without an id later
    large: bool = False  # the body is too large to be processed on the event loop
    notice: str = ""  # interactive mode's text before the answer

    @property
    def endpoint(self) -> Endpoint:
        """The requested endpoint."""
        return self.exchange.endpoint

    @property
    def whole_path(self) -> str:
        """The endpoint's path with the query, for a dialect to read."""
        return f"{self.endpoint.path}?{self.query}" if self.query else self.endpoint.path

    @property
    def content_type(self) -> str:
        """The media type of the body, lower case, without parameters."""
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def content_codings(self) -> str:
        """The Content-Encoding, all its lines joined; "" if there is none."""
        codings = ",".join(field_lines(self.request.headers, "Content-Encoding"))
        return "" if codings.strip(" \t,").lower() in ("", "identity") else codings

    @property
    def restricted(self) -> bool:
        """True if the caller may use only some models."""
        return self.generation.access.restricts_models(self.exchange.caller)

    @property
    def redacts(self) -> bool:
        """True if secrets must be removed from what is sent upstream."""
        if self.session is not None and self.session.redact is not None:
            return self.session.redact
        return self.generation.config.redact_api_keys_in_prompts

    def requested_model(self, document: dict[str, Any]) -> str | None:
        """The model of a request with this JSON body. Raises BadRequest if it is not a string."""
        if self.session is not None and self.session.model is not None:
            return self.session.model
        if self.endpoint.dialect == "gemini":
            from openai_proxy.dialects.gemini.paths import parse

            if (call := parse(self.endpoint.path)) is not None:
                return call.model
        model = requested_model(document)
        if model is not None and self.endpoint.dialect == "ollama":
            return self.generation.untagged(model)
        return model

    def wants_stream(self, document: dict[str, Any]) -> bool:
        """Whether a request with this JSON body wants a stream."""
        dialect = self.endpoint.dialect
        if dialect == "gemini":
            return self.endpoint.name == "stream_generate_content"
        if dialect == "ollama":
            return self.endpoint.generates and document.get("stream") is not False
        return document.get("stream") is True

    def decide(self, model: str | None) -> Decision:
        """What to do with the request for `model`. Raises ProxyError if it is refused."""
        self.exchange.model = model
        if self.decision is None:
            caller, session, document = self.exchange.caller, self.session, self.document
            self.decision = decided(
                decide(self.generation, caller, self.endpoint, model, session, document, self.query)
            )
        return self.decision

    async def reserve(self, decision: Decision) -> None:
        """Reserve what the request may cost under its group's budget. Raises BudgetExceeded."""
        allowance = self.exchange.allowance
        if isinstance(allowance, Allowance) and allowance.budget is not None:
            await self.state.governor.spendings.reserve(
                self.exchange, allowance.budget, decision.route.targets[0], self.body.size, self.document or {}
            )

    def begin(self, decision: Decision) -> tuple[Target, ...]:
        """The targets in the order in which to try them. Raises UpstreamError; see `decision.begin`."""
        if not self.targets:
            self.exchange.priority = self.generation.priority(self.exchange.caller.group, decision.model)
            try:
                self.targets = begin(decision, self.generation.upstreams)
            except UpstreamError as error:
                self.exchange.connection, self.exchange.cause = decision.route.targets[0].connection, error.cause
                raise
        return self.targets

    def authorization_for(self, target: Target) -> bytes | None:
        """The caller's own Authorization, if it is sent to `target` in place of a key of ours; else None."""
        connection = self.generation.config.connections.get(target.connection)  # the built-in echo has none
        return self.client_authorization if connection is not None and connection.forward_auth else None

    async def plain_body(self) -> tuple[bytes, bytes]:
        """The whole body as received, and without its content codings. Raises BadRequest and TooLarge."""
        raw = await self.body.whole()
        codings = self.content_codings
        if not codings:
            return raw, raw
        plain = await unpacked(raw, codings, self.body.limit)
        self.body.hold(len(plain))
        return raw, plain

    async def send(self, body: bytes) -> None:
        """Answer with JSON of our own, whole."""
        self.reply.extra.append(("x-request-id", self.exchange.id))
        await self.reply.send(200, body)

    def follow(self, generation: Generation) -> None:
        """Continue under another configuration, which this very request has brought about."""
        self.generation = generation
        self.state.move(self.exchange, generation)

    @property
    def augmented(self) -> AugmentedModels:
        """The augmented models and tools of this configuration, if there are any."""
        augmented = self.generation.augmented
        assert augmented is not None
        return augmented
