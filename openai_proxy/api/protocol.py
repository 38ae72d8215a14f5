"""A client connection the ordinary way: aiohttp's own protocol, with our limits and errors as the API writes them."""

import asyncio
from typing import Any

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from openai_proxy.api.client import KEEP_ALIVE
from openai_proxy.api.ids import new_id
from openai_proxy.errors import BadRequest, InternalError, ProxyError


class Protocol(RequestHandler):
    """One client connection the ordinary way: aiohttp's own, with errors as the API writes them."""

    __slots__ = ("_head_timer",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # The first request's head has `header_seconds`; an idle kept connection may rest longer.
        self._keepalive_timeout = KEEP_ALIVE

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What the parser refused, or what escaped a handler: never an echo of the offending bytes."""
        self.keep_alive(False)
        if request.writer.output_size > 0:
            raise ConnectionError("too late for an error response")
        error: ProxyError = (
            BadRequest("The request is not valid HTTP.", code="invalid_http")
            if status < 500
            else InternalError("Something went wrong in the proxy.")
        )
        response = Response(
            status=error.status,
            body=error.body(),
            content_type="application/json",
            headers={"x-proxy-error": error.code, "x-request-id": new_id(), "Server": "openai-proxy"},
        )
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """aiohttp logs a traceback for every malformed request; a port scan would fill the journal."""
        self.log_debug(*args, **kwargs)

    def eof_received(self) -> None:
        """A client's FIN means that it is gone (contract §3): what it was sent nobody reads."""
        if self._request_in_progress and self.transport is not None:
            self.transport.abort()

    def take_prior(self) -> Any:
        """See LaneProtocol: here nothing has been done before."""
        return None

    @property
    def resting(self) -> bool:
        """True if no request is on its way."""
        # A connection that has not asked yet was accepted a moment ago: its request may be in the kernel already.
        return self._request_count > 0 and not self._request_in_progress and not self._messages
