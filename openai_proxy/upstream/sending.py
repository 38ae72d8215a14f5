"""One attempt: a place in line if the connection has one, the question itself, and the patience of its route."""

import asyncio

from openai_proxy.errors import UpstreamTimeout
from openai_proxy.exchange import Exchange, Headers, Target, UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.health import Upstreams
from openai_proxy.upstream.queue import HeldResponse, Line


async def send(
    upstreams: Upstreams, target: Target, request: UpstreamRequest, key: str | None, exchange: Exchange
) -> UpstreamResponse:
    """Ask `target`. Raises the UpstreamError family; UpstreamTimeout also where the target's own patience ends."""
    line = upstreams.lines.get(target.connection) if exchange.endpoint.generates and request.method == "POST" else None
    if target.first_byte is None:
        return await _in_turn(upstreams, line, target, request, key, exchange)
    scope = asyncio.timeout(target.first_byte)
    try:
        async with scope:
            response = await _in_turn(upstreams, line, target, request, key, exchange)
            return await _begun(response) if 200 <= response.status < 300 else response
    except TimeoutError:
        if not scope.expired():
            raise
        raise UpstreamTimeout(
            f"The connection '{target.connection}' did not answer in time.",
            cause=f"no answer within {target.first_byte:g} s (first_byte of its route)",
        ) from None


async def _in_turn(
    upstreams: Upstreams,
    line: Line | None,
    target: Target,
    request: UpstreamRequest,
    key: str | None,
    exchange: Exchange,
) -> UpstreamResponse:
    provider = upstreams.providers[target.connection]
    if line is None:
        return await provider.send(request, key)
    place = await line.enter(exchange)
    try:
        return HeldResponse(await provider.send(request, key), place)
    except BaseException:
        place.leave()
        raise


async def _begun(response: UpstreamResponse) -> UpstreamResponse:
    """`response` once its first byte has come: some servers send a head at once and think afterwards."""
    try:
        return _Begun(response, await response.chunk())
    except BaseException:
        response.close()
        raise


class _Begun:
    """An answer whose first piece has been read."""

    def __init__(self, response: UpstreamResponse, piece: bytes) -> None:
        self._response = response
        self._piece: bytes | None = piece

    @property
    def status(self) -> int:
        """See UpstreamResponse."""
        return self._response.status

    @property
    def reason(self) -> str:
        """See UpstreamResponse."""
        return self._response.reason

    @property
    def headers(self) -> Headers:
        """See UpstreamResponse."""
        return self._response.headers

    async def chunk(self) -> bytes:
        """See UpstreamResponse."""
        piece, self._piece = self._piece, None
        return await self._response.chunk() if piece is None else piece

    async def read(self, limit: int) -> bytes:
        """See UpstreamResponse."""
        piece, self._piece = self._piece or b"", None
        return piece + await self._response.read(max(limit - len(piece), 0))

    def close(self) -> None:
        """See UpstreamResponse."""
        self._response.close()
