"""Shared code of translating providers: sending, header fields, error messages."""

import logging
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final

from openai_proxy.errors import answered_with
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.protocols.json_members import LARGE, parse_object
from openai_proxy.protocols.large_json import read_object
from openai_proxy.secrets import vault
from openai_proxy.tasks import in_thread
from openai_proxy.upstream.inprocess import collect

Ask = Callable[[UpstreamRequest, str | None], Awaitable[UpstreamResponse]]
"""Sends a request over the connection's HTTP pool: `send` of a plain connection to the same address.

The second argument is a key to send as `Authorization: Bearer`, or None for no such header.
"""

MAX_BODY: Final = 1 << 30  # the request limit is far below

OF_THE_BODY: Final = frozenset({b"content-type", b"content-length", b"content-encoding", b"accept", b"accept-encoding"})
"""Fields that describe a request's body, or the body of its answer."""

log = logging.getLogger(__name__)
_SAFE: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_CODING: Final = frozenset({b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"})


def without(headers: Headers, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """`headers` without the fields called `names` (lower case)."""
    return [field for field in headers if field[0].lower() not in names]


def body_headers(source: Headers, content_type: bytes) -> list[tuple[bytes, bytes]]:
    """Header fields of an answer whose body has been replaced."""
    return [*without(source, _CODING), (b"Content-Type", content_type)]


def dropped_names(names: Iterable[str]) -> str:
    """`names` of members of a request, for a header field: they come from the caller, so only safe ones are listed."""
    return ", ".join(dict.fromkeys(name for name in names if _SAFE.fullmatch(name)))


def dropped_header(names: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """The header field that names the request members that the provider has no equivalent for."""
    printable = dropped_names(names)
    return [(b"X-Proxy-Dropped", printable.encode())] if printable else []


class DroppedLog:
    """Logs, once for each, which request members a connection leaves out."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._names: set[str] = set()

    def note(self, names: Iterable[str]) -> None:
        """Log the new ones of `names`."""
        fresh = sorted(set(names) - self._names)
        if fresh and len(self._names) < 256:
            self._names.update(fresh)
            log.info("connection %s has no equivalent for: %s", self._connection, ", ".join(fresh)[:200])


async def chat_of(request: UpstreamRequest) -> dict[str, Any]:
    """The chat request in the body of `request`. Raises BadRequest."""
    if request.document is not None:
        return request.document
    return await parsed(await collect(request.body, MAX_BODY))


async def parsed(data: bytes) -> dict[str, Any]:
    """A request's body as a document; a large one is parsed off the loop. Raises BadRequest and TooLarge."""
    return (await in_thread(read_object, data))[0] if len(data) >= LARGE else parse_object(data)


_STATUS_OF_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def status_of(error: Mapping[str, Any]) -> int:
    """The status that an error sent with a 200 should have had."""
    code = error.get("code")
    if isinstance(code, int) and 400 <= code <= 599:
        return code
    return _STATUS_OF_TYPE.get(str(error.get("type")), 502)


MAX_MESSAGE: Final = 500  # characters of a provider's own words


def speakable(error: Mapping[str, Any], connection: str, status: int) -> dict[str, Any]:
    """`error` with a message that can be read aloud: the provider's own, without secrets, or one of ours."""
    message = vault.scrub(error["message"])[:MAX_MESSAGE] if error.get("message") else ""
    return {**error, "message": message or answered_with(connection, status)}


class ResponseWithHeaders:
    """An answer with other header fields."""

    def __init__(self, response: UpstreamResponse, headers: Headers) -> None:
        self.status = response.status
        self.reason = response.reason
        self.headers = headers
        self.chunk = response.chunk
        self.read = response.read
        self.close = response.close


def relabelled(response: UpstreamResponse, names: Mapping[bytes, bytes]) -> ResponseWithHeaders:
    """`response` with some header fields repeated under the `names` that clients of the chat API look for."""
    present = {name.lower() for name, _ in response.headers}
    more = [
        (names[lower], value)
        for name, value in response.headers
        if (lower := name.lower()) in names and names[lower] not in present
    ]
    return ResponseWithHeaders(response, [*response.headers, *more])
