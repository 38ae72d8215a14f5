"""A provider's answer that is not a 2xx: passed to the client unchanged, with one warning if a tool has acted."""

from typing import Any

from openai_proxy.dialects.chat.errors import error_in
from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import Headers, UpstreamResponse, header
from openai_proxy.protocols.inflate import readable_part
from openai_proxy.secrets import vault
from openai_proxy.upstream.answer_body import MAX_ERROR

NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's clients obey it: a turn whose tools have acted must not be repeated automatically."""


class UpstreamRefused(Exception):
    """The provider answered with an error status.

    `headers` are its own, including the length and coding of `body`; `extra` are ours, to be added.
    """

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes) -> None:
        super().__init__(f"the provider answered {status}")
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.extra: dict[str, str] = {}

    @property
    def says_why(self) -> bool:
        """True if the body is an error object with a message for people."""
        return bool(self._error()["message"])

    def payload(self) -> dict[str, Any]:
        """The error object for a stream that has already begun."""
        error = self._error()
        message = error["message"] or f"The provider answered {self.status} in the middle of the answer."
        return {
            "error": {
                "message": vault.scrub(message)[:500],
                "type": error["type"],
                "param": None,
                "code": error["code"] if isinstance(error["code"], str) else UpstreamError.default_code,
            }
        }

    def _error(self) -> dict[str, Any]:
        coded = header(self.headers, b"content-encoding") is not None
        return error_in(self.status, readable_part(self.body, 16 * MAX_ERROR) if coded else self.body)


async def refusal(response: UpstreamResponse) -> UpstreamRefused:
    """Read a whole error answer (at most 1 MiB) and close it."""
    try:
        body = await response.read(MAX_ERROR)
    except ProxyError:
        body = b""
    finally:
        response.close()
    return UpstreamRefused(response.status, response.reason, response.headers, body)
