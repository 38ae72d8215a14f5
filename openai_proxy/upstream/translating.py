"""What all share that translate a provider's answers: how they ask, which header fields they touch, what errors say."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.reading import MAX_ANSWER
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.protocols.json_members import parse_object
from openai_proxy.secrets import vault
from openai_proxy.upstream.answers import inflater
from openai_proxy.upstream.inprocess import collect

Ask = Callable[[UpstreamRequest, str | None], Awaitable[UpstreamResponse]]
"""Sends a request over the connection's HTTP pool: `send` of a plain connection to the same address.

The second argument is a key to be sent as `Authorization: Bearer`, or None for no such header.
"""

MAX_BODY: Final = 1 << 30  # the door's own limit is far below
IN_THREAD: Final = 1 << 20  # bytes of a request from which parsing (about 1 ms a MiB) leaves the loop

log = logging.getLogger(__name__)
_CODING: Final = frozenset({b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"})


def without(headers: Headers, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """`headers` without the fields called `names` (lower case)."""
    return [field for field in headers if field[0].lower() not in names]


def body_headers(source: Headers, content_type: bytes) -> list[tuple[bytes, bytes]]:
    """Header fields of an answer whose body is another one now."""
    return [*without(source, _CODING), (b"Content-Type", content_type)]


async def answer_object(response: UpstreamResponse) -> dict[str, Any]:
    """A JSON object of a provider. Raises UpstreamInvalid."""
    inflate = inflater(response.headers)
    data = await response.read(MAX_ANSWER)
    try:
        document = json_text.loads(inflate.feed(data) if inflate is not None else data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UpstreamInvalid("The provider sent an answer that is not understood.")
    return document


def dropped_header(names: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """The header field that tells the caller which members of the request the provider has no words for."""
    # A member's name is the caller's text: only what may stand in a header field goes there.
    told = [name for name in names if name.isascii() and name.isprintable() and len(name) <= 64]
    return [(b"X-Proxy-Dropped", ", ".join(told).encode())] if told else []


class DroppedLog:
    """Says in the log, once for each, which members of requests a connection leaves out."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._names: set[str] = set()

    def note(self, names: Iterable[str]) -> None:
        """Log those of `names` that were not yet."""
        fresh = sorted(set(names) - self._names)
        if fresh and len(self._names) < 256:
            self._names.update(fresh)
            log.info("connection %s has no words for: %s", self._connection, ", ".join(fresh)[:200])


async def chat_of(request: UpstreamRequest) -> dict[str, Any]:
    """The chat request in the body of `request`. Raises BadRequest."""
    if request.document is not None:
        return request.document
    return await parsed(await collect(request.body, MAX_BODY))


async def parsed(data: bytes) -> dict[str, Any]:
    """A request's body as a document; a large one is parsed off the loop. Raises BadRequest."""
    return await asyncio.to_thread(parse_object, data) if len(data) > IN_THREAD else parse_object(data)


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
    """The status that an error which came with a 200 should have had."""
    code = error.get("code")
    if isinstance(code, int) and 400 <= code <= 599:
        return code
    return _STATUS_OF_TYPE.get(str(error.get("type")), 502)


MAX_MESSAGE: Final = 500  # characters of a provider's own words


def speakable(error: Mapping[str, Any], connection: str, status: int) -> dict[str, Any]:
    """`error` with a message that can be read aloud: the provider's own without secrets, or one sentence of ours."""
    message = vault.scrub(error["message"])[:MAX_MESSAGE] if error.get("message") else ""
    return {**error, "message": message or f"The connection '{connection}' answered with status {status}."}


class WithHeaders:
    """An answer with other header fields."""

    def __init__(self, response: UpstreamResponse, headers: Headers) -> None:
        self.status = response.status
        self.reason = response.reason
        self.headers = headers
        self.chunk = response.chunk
        self.read = response.read
        self.close = response.close


def relabelled(response: UpstreamResponse, names: Mapping[bytes, bytes]) -> WithHeaders:
    """`response` with some header fields also under the `names` that clients of the chat API look for."""
    present = {name.lower() for name, _ in response.headers}
    more = [
        (names[lower], value)
        for name, value in response.headers
        if (lower := name.lower()) in names and names[lower] not in present
    ]
    return WithHeaders(response, [*response.headers, *more])
