"""What every kind of connection can do, whatever its api_type."""

from typing import Any, Protocol

from openai_proxy.exchange import UpstreamRequest, UpstreamResponse


class Provider(Protocol):
    """One configured connection brought to life. Its HTTP pool, if it has one, outlives it."""

    @property
    def name(self) -> str:
        """The connection's name."""
        ...

    @property
    def api_type(self) -> str:
        """The language it speaks: openai, ollama, anthropic, google, local, echo."""
        ...

    def speaks(self, dialect: str) -> bool:
        """True if it takes requests in this dialect as they are. The chat API's are taken by every connection."""
        ...

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Ask, with `key`; returns when status and headers have come. Raises the UpstreamError family."""
        ...

    async def list_models(self) -> list[dict[str, Any]]:
        """The models it offers, as OpenAI model objects. Raises the UpstreamError family."""
        ...

    async def aclose(self) -> None:
        """Let go of what it holds alone. Idempotent."""
        ...
