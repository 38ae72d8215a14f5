"""The interface of every kind of connection, whatever its api_type."""

from typing import Any, Protocol, runtime_checkable

from openai_proxy.errors import ProxyError
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse


class Provider(Protocol):
    """One configured connection in service. Its HTTP pool, if it has one, outlives it."""

    @property
    def name(self) -> str:
        """The connection's name."""
        ...

    @property
    def api_type(self) -> str:
        """Its API: openai, ollama, anthropic, google, local, echo."""
        ...

    def speaks(self, dialect: str) -> bool:
        """True if it accepts requests in this dialect unchanged. Every connection accepts the chat API's."""
        ...

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Send a request with `key`; returns when status and headers have arrived. Raises the UpstreamError family."""
        ...

    async def list_models(self) -> list[dict[str, Any]]:
        """The models it offers, as OpenAI model objects. Raises the UpstreamError family."""
        ...

    async def aclose(self) -> None:
        """Release what it alone holds. Idempotent."""
        ...


@runtime_checkable
class EndsWithError(Protocol):
    """A stream translated here, which can end itself in a way that is valid in its API after a failure."""

    def broken(self, error: ProxyError) -> bytes:
        """The bytes of such an end. Call it only between two pieces."""
        ...
