"""Answers that extend another answer, and what all answers have in common."""

from abc import ABC, abstractmethod

from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamResponse


async def rest_of(response: UpstreamResponse, limit: int) -> bytes:
    """All remaining chunks, joined; UpstreamInvalid past `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    while piece := await response.chunk():
        size += len(piece)
        if size > limit:
            response.close()
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large")
        pieces.append(piece)
    return b"".join(pieces)


class OwnResponse(ABC):
    """An answer (exchange.UpstreamResponse) that does not come directly from a socket."""

    status: int = 200
    reason: str = "OK"
    headers: Headers = ()

    @abstractmethod
    async def chunk(self) -> bytes:
        """See exchange.UpstreamResponse."""

    async def read(self, limit: int) -> bytes:
        """See exchange.UpstreamResponse."""
        return await rest_of(self, limit)

    @abstractmethod
    def close(self) -> None:
        """See exchange.UpstreamResponse."""


class WrappedResponse:
    """`response` (exchange.UpstreamResponse), to be modified by subclasses."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def reason(self) -> str:
        return self._response.reason

    @property
    def headers(self) -> Headers:
        return self._response.headers

    async def chunk(self) -> bytes:
        return await self._response.chunk()

    async def read(self, limit: int) -> bytes:
        return await rest_of(self, limit)

    def close(self) -> None:
        self._response.close()
