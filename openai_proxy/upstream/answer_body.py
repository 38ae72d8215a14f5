"""The whole body of a provider's answer, decompressed."""

from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import MAX_ANSWER
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamResponse, header
from openai_proxy.protocols.inflate import CODINGS, DamagedError, Inflater, TooLongError
from openai_proxy.tasks import beside

MAX_ERROR: Final = 1 << 20
"""Bytes read of an error answer; an error message is not longer."""

_PACKED: Final = 1 << 16  # compressed bytes that may become megabytes


async def body_of(response: UpstreamResponse, limit: int = MAX_ANSWER) -> bytes:
    """The body, of at most `limit` bytes as it is sent. Raises the UpstreamError family."""
    inflate = inflater(response.headers)
    data = await response.read(limit)
    return data if inflate is None else await beside(len(data) >= _PACKED, inflate.feed, data)


async def answer_json(response: UpstreamResponse) -> Any:
    """A JSON value from a provider, None for anything else. Raises the UpstreamError family."""
    try:
        return json_text.loads(await body_of(response))
    except ValueError:
        return None


async def answer_object(response: UpstreamResponse) -> dict[str, Any]:
    """A JSON object from a provider. Raises UpstreamInvalid."""
    document = await answer_json(response)
    if not isinstance(document, dict):
        raise UpstreamInvalid("The provider sent an answer that is not understood.")
    return document


async def error_text(response: UpstreamResponse) -> bytes:
    """The body of an error answer, which is closed. Empty if it cannot be read."""
    try:
        return await body_of(response, MAX_ERROR)
    except UpstreamInvalid:
        return b""
    finally:
        response.close()


class AnswerInflater:
    """Decompresses gzip or deflate, up to MAX_ANSWER bytes."""

    def __init__(self) -> None:
        self._inflater = Inflater(MAX_ANSWER)

    def feed(self, data: bytes) -> bytes:
        """What `data` inflates to. Raises UpstreamInvalid."""
        try:
            return self._inflater.feed(data)
        except DamagedError:
            raise UpstreamInvalid("The provider's compressed answer is damaged.") from None
        except TooLongError:
            raise UpstreamInvalid("The provider's answer is too large.", code="upstream_too_large") from None


def inflater(headers: Headers) -> AnswerInflater | None:
    """The decompressor for the content coding; None without one. Raises UpstreamInvalid for one not requested."""
    coding = (header(headers, b"content-encoding") or b"").strip().lower()
    if coding in (b"", b"identity"):
        return None
    if coding.decode("latin-1") in CODINGS:
        return AnswerInflater()
    raise UpstreamInvalid("The provider answered in a compression that was not asked for.")
