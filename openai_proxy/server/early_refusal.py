"""The answer to a client whose request was not read and will not be, and why: in words, without the offending bytes."""

from typing import Final

from aiohttp.http_exceptions import LineTooLong

from openai_proxy.bounds import MAX_HEAD
from openai_proxy.errors import BadRequest, HeadTooLarge, ProxyError
from openai_proxy.exchange import new_request_id
from openai_proxy.server.headers import lines


def head_too_large() -> HeadTooLarge:
    """The error for a head that is over the limit as a whole."""
    return HeadTooLarge(f"The header fields are larger than {MAX_HEAD // 1024} KB.")


def early_refusal(error: ProxyError, status: bytes) -> bytes:
    """A whole HTTP answer with `error`, under the status line's `status`; the connection ends with it."""
    body = error.body()
    fields = {**error.headers, "x-proxy-error": error.code, "x-request-id": new_request_id()}
    if error.final:
        fields["x-should-retry"] = "false"
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%bConnection: close\r\n\r\n%b" % (
        status,
        len(body),
        lines(fields.items()),
        body,
    )


def parse_error(error: BaseException | None) -> ProxyError:
    """An error of aiohttp's parser, without the offending bytes."""
    if isinstance(error, LineTooLong):
        return HeadTooLarge("A header field or the address is too long.", cause=_LINE_TOO_LONG)
    if "HTTPS traffic" in str(error) or "\\x16\\x03" in str(error):
        return BadRequest("This port speaks HTTP, not HTTPS.", code="invalid_http", cause=_SPEAKS_TLS)
    return BadRequest("The request is not valid HTTP.", code="invalid_http")


_LINE_TOO_LONG: Final = (
    "a header field or the address is longer than 8190 bytes: usually cookies of another program on the same host "
    "name; give the proxy a separate name or port"
)
_SPEAKS_TLS: Final = "the client speaks HTTPS to a port that speaks HTTP: use http:// there, or put HTTPS in front"
