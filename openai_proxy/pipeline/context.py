"""One request at the door: everything a handler needs, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp.web_request import BaseRequest

from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Exchange, Target
from openai_proxy.records.recording.entry import Entry
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.server.reply import Reply
from openai_proxy.server.request_body import RequestBody
from openai_proxy.transforms.sessions import Session
from openai_proxy.upstream.failover import Opened

if TYPE_CHECKING:
    from openai_proxy.runtime.augmented_models import AugmentedModels


@dataclass(slots=True)
class RequestContext:
    """A request being served by the ordinary way. `path` and `query` are raw, `path` below the API root."""

    state: State
    generation: Generation
    request: BaseRequest
    reply: Reply
    exchange: Exchange
    body: RequestBody
    path: str
    query: str
    entry: Entry
    first: Opened | None = None  # an answer the lane has opened already
    route: Route | None = None  # where the lane has decided it goes
    failed: ProxyError | None = None  # what came of the lane's attempt instead
    document: dict[str, Any] | None = None  # the JSON body, once read
    client_authorization: bytes | None = None  # the caller's own bearer; see authorization_for
    session: Session | None = None  # what was set by command, once anything was
    opening: tuple[str, str] | None = None  # by what a conversation without a name will be found again
    preface: str = ""  # what interactive mode says before the answer

    @property
    def redacts(self) -> bool:
        """True if secrets are to be taken out of what goes upstream."""
        if self.session is not None and self.session.redact is not None:
            return self.session.redact
        return self.generation.config.redact_api_keys_in_prompts

    def authorization_for(self, target: Target) -> bytes | None:
        """The caller's own Authorization where it goes to `target` in place of a key of ours, else None."""
        if self.client_authorization is None:
            return None
        return self.client_authorization if self.generation.config.connections[target.connection].forward_auth else None

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
