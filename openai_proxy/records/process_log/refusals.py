"""A line for a request that is refused before it has a record: no key, an unknown host, an unsupported method.

    192.168.1.21  POST /v1/chat/completions  401  This API key is not known here.

Written at once, not by the recorder's thread, because there is no exchange. Repeated refusals of the same device are
counted, so a scan does not fill the journal.
"""

import logging
from typing import Any, Final

from openai_proxy.errors import ProxyError
from openai_proxy.records.process_log.output import Colours, one_line

log = logging.getLogger("openai_proxy.refused")

MAX_PATH: Final = 80  # characters


class RefusalFacts:
    """output.Facts of one refusal."""

    bare = False

    def __init__(self, peer: str, what: str, error: ProxyError) -> None:
        self._peer = peer or "this machine"
        self._what = one_line(what[: MAX_PATH + 1])
        self._error = error
        self.subject: tuple[Any, ...] = ("refused", peer)
        self.key: tuple[Any, ...] | None = (*self.subject, error.status, error.code, error.message)

    def text(self, paint: Colours) -> str:
        """output.Facts: the line."""
        error = self._error
        what = self._what if len(self._what) <= MAX_PATH else self._what[: MAX_PATH - 1] + "…"
        status = paint("odd" if error.status < 500 else "bad", str(error.status))
        parts = [paint("strong", self._peer), what, status, one_line(error.cause or error.message)]
        return "  ".join(part for part in parts if part)

    def members(self) -> dict[str, Any]:
        """output.Facts: the same for programs."""
        error = self._error
        return {
            "refused": {
                "client": self._peer,
                "request": self._what or None,
                "status": error.status,
                "error": error.code,
                "reason": one_line(error.cause or error.message),
            }
        }


def log_refusal(peer: str, what: str, error: ProxyError) -> None:
    """A request of `peer` was refused; `what` is its method and path, without the query, which may contain a key."""
    if not log.disabled and log.isEnabledFor(logging.WARNING):
        facts = RefusalFacts(peer, what, error)
        log.warning("%s", facts.subject, extra={"facts": facts})


def enable(on: bool) -> None:
    """False: write no such lines (`--no-request-log`)."""
    log.disabled = not on
