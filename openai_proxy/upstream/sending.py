"""One attempt: a place in the connection's queue, if any, the request itself, and its route's first-byte timeout."""

import asyncio

from openai_proxy.errors import UpstreamTimeout
from openai_proxy.exchange import Exchange, Target, UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.health import Upstreams
from openai_proxy.upstream.queue import HeldResponse, Line
from openai_proxy.upstream.refusals import PeekedResponse


async def send(
    upstreams: Upstreams, target: Target, request: UpstreamRequest, key: str | None, exchange: Exchange
) -> UpstreamResponse:
    """Send to `target`. Raises the UpstreamError family, UpstreamTimeout also for the target's own `first_byte`."""
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
        if (waker := upstreams.wakers.get(target.connection)) is not None:
            waker.call()  # a sleeping machine often just does not answer: wake it for the next request
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
        response = await provider.send(request, key)
    except BaseException:
        place.leave()
        raise
    if response.status >= 400:  # nothing is being generated, and a retry must not wait for the refusal it retries
        place.leave()
        return response
    return HeldResponse(response, place)


async def _begun(response: UpstreamResponse) -> UpstreamResponse:
    """`response` once its first byte has arrived: some servers send a head at once and think afterwards."""
    try:
        peeked = PeekedResponse(response)
        await peeked.begin()
        return peeked
    except BaseException:
        response.close()
        raise
