"""What aiohttp's parser refuses, in words for the client and for the owner; never the bytes it found."""

from typing import Final

from aiohttp.http_exceptions import LineTooLong

from openai_proxy.errors import BadRequest, HeadTooLarge, ProxyError


def parse_error(error: BaseException | None) -> ProxyError:
    """What aiohttp's parser refused, without the bytes it found."""
    if isinstance(error, LineTooLong):
        return HeadTooLarge("A header field or the address is too long.", cause=_LINE_TOO_LONG)
    if "HTTPS traffic" in str(error) or "\\x16\\x03" in str(error):
        return BadRequest("This port speaks HTTP, not HTTPS.", code="invalid_http", cause=_SPEAKS_TLS)
    return BadRequest("The request is not valid HTTP.", code="invalid_http")


_LINE_TOO_LONG: Final = (
    "a header field or the address is longer than 8190 bytes: mostly cookies of another program on the same host name; "
    "a name or port of its own for the proxy helps"
)
_SPEAKS_TLS: Final = "the client speaks HTTPS to a port that speaks HTTP: write http:// there, or put HTTPS in front"
