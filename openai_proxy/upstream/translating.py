"""What the translating providers (Anthropic, Google) share: how they ask, and which header fields they touch."""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final

import orjson

from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse

Ask = Callable[[UpstreamRequest, str | None], Awaitable[UpstreamResponse]]
"""Sends a request over the connection's HTTP pool: `send` of a plain connection to the same address.

The second argument is a key to be sent as `Authorization: Bearer`, or None for no such header.
"""

MAX_ERROR: Final = 1 << 20  # bytes of an error answer that are read; a longer one is no error message
MAX_ANSWER: Final = 64 << 20  # bytes of a whole answer that is translated
MAX_BODY: Final = 1 << 30  # the door's own limit is far below
IN_THREAD: Final = 1 << 20  # bytes of a request from which parsing (about 1 ms a MiB) leaves the loop

_CODING: Final = frozenset({b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"})
log = logging.getLogger(__name__)


def without(headers: Headers, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """`headers` without the fields called `names` (lower case)."""
    return [field for field in headers if field[0].lower() not in names]


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of the field `name` (lower case)."""
    return next((value for field, value in headers if field.lower() == name), None)


def body_headers(source: Headers, content_type: bytes) -> list[tuple[bytes, bytes]]:
    """Header fields of an answer whose body is another one now."""
    return [*without(source, _CODING), (b"Content-Type", content_type)]


def must_be_plain(response: UpstreamResponse) -> None:
    """UpstreamInvalid for an answer in a content coding: identity was asked for, and only that can be translated."""
    coding = header(response.headers, b"content-encoding")
    if coding is not None and coding.lower() not in (b"", b"identity"):
        response.close()
        raise UpstreamInvalid("The provider sent a compressed answer although none was asked for.")


def answer_object(data: bytes) -> dict[str, Any]:
    """A JSON object of a provider. Raises UpstreamInvalid."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise UpstreamInvalid("The provider sent an answer that is not understood.")
    return document


def dropped_header(names: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """The header field that tells the caller which members of the request the provider has no words for."""
    # A member's name is the caller's text: only what may stand in a header field goes there.
    told = [name for name in names if name.isascii() and name.isprintable() and len(name) <= 64]
    return [(b"X-Proxy-Dropped", ", ".join(told).encode())] if told else []


class Told:
    """Says in the log, once for each, which members of requests a connection leaves out."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._names: set[str] = set()

    def tell(self, names: Iterable[str]) -> None:
        """Log those of `names` that were not yet."""
        fresh = sorted(set(names) - self._names)
        if fresh and len(self._names) < 256:
            self._names.update(fresh)
            log.info("connection %s has no words for: %s", self._connection, ", ".join(fresh)[:200])
