"""The offline model `echo`, which stays reachable beside whatever is configured: made when it is first asked."""

from typing import TYPE_CHECKING, Any, Final

from openai_proxy.exchange import UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from openai_proxy.upstream.echo import EchoProvider

ECHO: Final = "echo"
"""The name of the connection and of its model."""


class BuiltInEcho:
    """See provider.Provider. A house that never asks for it does not import what answers."""

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
        """See Provider."""
        return self._echo.speaks(dialect)

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """See Provider."""
        return await self._echo.send(request, key)

    async def list_models(self) -> list[dict[str, Any]]:
        """See Provider."""
        return await self._echo.list_models()

    async def aclose(self) -> None:
        """See Provider: nothing is held."""
