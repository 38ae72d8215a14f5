"""Which of our keys were sent with a request, and an answer's header fields without them.

Some gateways report in a header field which key they received.
"""

from openai_proxy.exchange import Headers
from openai_proxy.upstream.health import Opened
from openai_proxy.upstream.openai import OpenAIProvider

_SWITCHING = 101


def credentials(opened: Opened) -> tuple[bytes, ...]:
    """Our credentials in a request: the key, and any from the connection's own `headers`."""
    if isinstance(opened.provider, OpenAIProvider):
        return opened.provider.credentials(opened.key)
    return (opened.key.encode(),) if opened.key else ()


def without_keys(opened: Opened) -> Headers:
    """The answer's header fields, except those that contain a key of ours."""
    headers = opened.response.headers
    for key in credentials(opened):
        if any(key in value for _, value in headers):
            headers = [field for field in headers if key not in field[1]]
    return headers


def hide_keys(opened: Opened) -> Opened:
    """`opened` with the header fields of `without_keys`; a tunnel keeps its own, which its opener filters."""
    response = opened.response
    if response.status != _SWITCHING and (shown := without_keys(opened)) is not response.headers:
        from openai_proxy.upstream.translating import ResponseWithHeaders

        opened.response = ResponseWithHeaders(response, shown)
    return opened
