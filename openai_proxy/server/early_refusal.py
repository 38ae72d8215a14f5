"""The answer to a client whose request has not been read, and will not be."""

from openai_proxy.bounds import MAX_HEAD
from openai_proxy.errors import HeadTooLarge, ProxyError
from openai_proxy.exchange import new_request_id
from openai_proxy.server.headers import lines


def head_too_large() -> HeadTooLarge:
    """The refusal of a head that is over the bound as a whole."""
    return HeadTooLarge(f"The header fields are larger than {MAX_HEAD // 1024} KB.")


def early_refusal(error: ProxyError, status: bytes) -> bytes:
    """A whole HTTP answer that says `error`, under the status line's `status`; the connection ends with it."""
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
