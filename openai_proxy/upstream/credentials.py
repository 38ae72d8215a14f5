"""Which keys of ours went up with a request, and an answer's header fields without them.

Some gateways say in a header field which key they saw.
"""

from openai_proxy.exchange import Headers
from openai_proxy.upstream.health import Opened
from openai_proxy.upstream.openai import OpenAIProvider
from openai_proxy.upstream.translating import WithHeaders

_SWITCHING = 101


def credentials(opened: Opened) -> tuple[bytes, ...]:
    """Our credentials that went up: the key, and what the connection's own `headers` say in its place."""
    if isinstance(opened.provider, OpenAIProvider):
        return opened.provider.credentials(opened.key)
    return (opened.key.encode(),) if opened.key else ()


def without_keys(opened: Opened) -> Headers:
    """The answer's header fields, but for those that hold a key of ours."""
    headers = opened.response.headers
    keys = credentials(opened)
    if any(key in value for _, value in headers for key in keys):
        return [field for field in headers if not any(key in field[1] for key in keys)]
    return headers


def hide_keys(opened: Opened) -> Opened:
    """`opened` with the header fields of `without_keys`; a tunnel keeps its own, which whoever opens it leaves out."""
    response = opened.response
    if response.status != _SWITCHING and (shown := without_keys(opened)) is not response.headers:
        opened.response = WithHeaders(response, shown)
    return opened
