"""The offline model `echo`, which is always available, whatever is configured: created on first use."""

from typing import TYPE_CHECKING, Any, Final

from openai_proxy.exchange import UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from openai_proxy.upstream.echo import EchoProvider

ECHO: Final = "echo"
"""Name of the connection and its model."""


class BuiltInEcho:
    """See provider.Provider. The code that answers is imported on first use."""

    name = ECHO
    api_type = "echo"

    def __init__(self) -> None:
        self._made: EchoProvider | None = None

    @property
    def _echo(self) -> "EchoProvider":
        if self._made is None:
            from openai_proxy.upstream.echo import EchoProvider

            self._made = EchoProvider(ECHO)
        return self._made

    def speaks(self, dialect: str) -> bool:
        return self._echo.speaks(dialect)

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        return await self._echo.send(request, key)

    async def list_models(self) -> list[dict[str, Any]]:
        return await self._echo.list_models()

    async def aclose(self) -> None:
        """See Provider: there is nothing to release."""
