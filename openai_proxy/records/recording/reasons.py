"""Why an exchange failed, in words for the owner: for the terminal, the chat log and `logs show`."""

from typing import Any, Final

from openai_proxy.exchange import Attempt, Outcome
from openai_proxy.records.recording.finished_exchange import Finished

MAX_REASON: Final = 300  # characters of a provider's own words

_WORDS: Final = {
    "upstream_unreachable": "no connection",
    "upstream_connect_timeout": "no connection in time",
    "upstream_tls_error": "no TLS connection",
    "upstream_timeout": "no answer in time",
    "upstream_idle_timeout": "fell silent in the middle of its answer",
    "upstream_disconnected": "closed the connection without an answer",
    "upstream_truncated": "broke off in the middle of its answer",
    "upstream_incomplete": "the answer has no end",
    "upstream_invalid_response": "the answer is not valid HTTP",
    "upstream_too_large": "the answer is too large",
    "upstream_auth": "the provider refused our key",
    "upstream_redirect": "the provider redirects elsewhere; is api_base right?",
    "upstream_resting": "the connection failed a moment ago and is paused",
    "upstream_refused": "the provider refused the request",
    "model_not_found": "no such model, or this client may not use it",
    "model_required": "the request names no model",
    "no_connection": "no connection is configured for it",
    "not_found": "nothing is served at this path",
    "invalid_api_key": "no key, or an unknown one",
    "invalid_json": "the body is not valid JSON",
    "request_too_large": "the body is too large",
    "rate_limit_exceeded": "a limit of its group is reached",
    "overloaded": "too many requests at once",
    "server_shutting_down": "aborted by the shutdown",
    "cancelled": "cancelled by an admin",
    "internal_error": "a bug in the proxy; see the lines above",
}
"""Error codes in words, if nothing more specific is known."""


def words_of(code: str) -> str:
    """What an error code means."""
    return _WORDS.get(code) or code.replace("_", " ")


def attempt_reason(attempt: Attempt) -> str | None:
    """Why one attempt failed; None if it did not."""
    if attempt.error is not None:
        return attempt.cause or words_of(attempt.error)
    if attempt.status is not None and attempt.status >= 400:
        return attempt.cause or ""
    return None


def failed(finished: Finished) -> bool:
    """True if an exchange failed; a client that disconnects is no failure."""
    exchange = finished.exchange
    if exchange.outcome is Outcome.CLIENT_CLOSED:
        return False
    status = finished.status or exchange.status or 0
    code = finished.error_code or exchange.error_code
    return code is not None or status >= 400 or finished.work.answer.error is not None


def reason(finished: Finished) -> str | None:
    """Why an exchange failed; None if it did not, or if the reason is unknown."""
    if not failed(finished):
        return None
    exchange, answer = finished.exchange, finished.work.answer
    code = finished.error_code or exchange.error_code
    last = exchange.attempts[-1] if exchange.attempts else None
    if last is not None and last.cause and (code is None or last.error in (code, None)):
        return last.cause
    if exchange.cause:
        return exchange.cause
    if (provider_message := message_of(answer.error)) is not None:
        return provider_message
    if finished.message:
        return finished.message
    if code is not None:
        return words_of(code)
    return " ".join(answer.unread.split())[:MAX_REASON] or None


def message_of(error: Any) -> str | None:
    """A provider's text in its error object, in one line; None if it has none."""
    for name in ("message", "detail", "msg", "error"):
        if isinstance(error, dict) and error.get(name):
            error = error[name]
    if isinstance(error, list) and error:
        return message_of(error[0])
    return " ".join(error.split())[:MAX_REASON] or None if isinstance(error, str) else None
