"""All errors that the proxy itself can answer with.

    ProxyError                    400 … 504   has a status, a type, a code and a speakable message
    ├── BadRequest                400         the request cannot be understood
    ├── Unauthorized              401         no key, or an unknown one
    ├── BudgetExceeded            402         the money of a key's group is spent
    ├── Forbidden                 403         a peer, origin, admin call or command that is refused
    ├── NotFound                  404         unknown path or model (a forbidden model looks the same)
    ├── TooLarge                  413         a body over the limit
    ├── HeadTooLarge              431         header fields over the limit
    ├── Misdirected               421         a Host name that is not served
    ├── NotServed                 501         part of an API that a proxy cannot serve
    ├── RateLimited               429         one of the proxy's own limits
    ├── Overloaded                503         too many requests, or draining
    └── UpstreamError             502, 504    the provider failed
        ├── UpstreamUnreachable   502         DNS, refused or reset while connecting
        ├── UpstreamTimeout       504         connect, first-byte, idle or total timeout
        │   └── DeadlineExceeded  504         the whole turn's deadline has passed
        ├── UpstreamTLSError      502         certificate or handshake
        ├── UpstreamDisconnected  502         closed or reset before the head was complete
        ├── UpstreamInvalid       502         not HTTP, bad framing, headers out of bounds
        ├── UpstreamRedirect      502         a 3xx with a Location
        ├── UpstreamAuthError     502         it refused *our* key
        ├── UpstreamTruncated     502         broke off mid-answer
        └── UpstreamIncomplete    502         ended cleanly, but without the end of its message

Messages are short and may be read aloud by a voice assistant: they may name a connection, but never an address, a
path or a key. The wire shape is OpenAI's: https://platform.openai.com/docs/guides/error-codes/api-errors
"""

from collections.abc import Mapping
from typing import ClassVar

import orjson

from openai_proxy.secrets import vault


def writable(text: str) -> str:
    """`text` with lone surrogates, which JSON may contain but no encoder here accepts, as question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class ProxyError(Exception):
    """An error that can be sent as a response.

    `message` is for the caller; `code` goes into the body and the `x-proxy-error` header; `param` names the offending
    member; `headers` are added to the response. `cause` is for the owner only (terminal, logs, status): it may contain
    addresses and is never sent to clients of the API.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "proxy_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        cause: str | None = None,
    ) -> None:
        message = writable(vault.scrub(message))  # it may quote a client or a provider
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.code = code or self.default_code
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})
        if status is not None:
            self.status = status  # type: ignore[misc]  # one instance may be more precise than its class

    @property
    def final(self) -> bool:
        """True if a retry cannot change the answer, so clients are asked not to retry (`x-should-retry`).

        OpenAI's SDKs try three times, Claude Code seven times, while a person waits for a spoken answer in silence.
        """
        return self.status in (400, 401, 403, 404, 413, 431)

    def payload(self) -> dict[str, dict[str, str | None]]:
        """The error object of the OpenAI API."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """`payload` as JSON bytes."""
        return orjson.dumps(self.payload())


class InternalError(ProxyError):
    """A bug in the proxy: the caller learns nothing but that."""


class BadRequest(ProxyError):
    status = 400
    type = "invalid_request_error"
    default_code = "invalid_request"


class Unauthorized(ProxyError):
    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"


class BudgetExceeded(ProxyError):
    status = 402
    type = "insufficient_quota"
    default_code = "budget_exceeded"


class Forbidden(ProxyError):
    status = 403
    type = "permission_error"
    default_code = "forbidden"


class NotFound(ProxyError):
    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class TooLarge(ProxyError):
    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"


class HeadTooLarge(ProxyError):
    status = 431
    type = "invalid_request_error"
    default_code = "headers_too_large"


class Misdirected(ProxyError):
    status = 421
    type = "invalid_request_error"
    default_code = "host_not_allowed"


class NotServed(ProxyError):
    status = 501
    type = "invalid_request_error"
    default_code = "not_served"


class RateLimited(ProxyError):
    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"


class Overloaded(ProxyError):
    status = 503
    type = "server_error"
    default_code = "overloaded"


class UpstreamError(ProxyError):
    status = 502
    type = "upstream_error"
    default_code = "upstream_error"

    @property
    def final(self) -> bool:
        """Our own attempts were made; only a target that is unavailable for a known time is worth a retry."""
        return super().final or (self.status >= 500 and "Retry-After" not in self.headers)


class UpstreamUnreachable(UpstreamError):
    default_code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    status = 504
    default_code = "upstream_timeout"


class DeadlineExceeded(UpstreamTimeout):
    default_code = "deadline_exceeded"


class UpstreamTLSError(UpstreamError):
    default_code = "upstream_tls_error"


class UpstreamDisconnected(UpstreamError):
    default_code = "upstream_disconnected"


class UpstreamInvalid(UpstreamError):
    default_code = "upstream_invalid_response"


class UpstreamRedirect(UpstreamError):
    default_code = "upstream_redirect"


class UpstreamAuthError(UpstreamError):
    default_code = "upstream_auth"


class UpstreamTruncated(UpstreamError):
    default_code = "upstream_truncated"


class UpstreamIncomplete(UpstreamError):
    default_code = "upstream_incomplete"


def answered_with(connection: str, status: int) -> str:
    """The sentence about an answer that gives no reason of its own."""
    return f"The connection '{connection}' answered with status {status}."


def unknown_model(model: str) -> NotFound:
    """The 404 for a model that does not exist or that this caller may not use: both look the same."""
    return NotFound(
        f"The model '{model[:200]}' does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )
