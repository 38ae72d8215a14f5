"""The form of each kind of answer according to the contract."""

import json
import re
from typing import Any

from tests.harness.daemon import CANARY
from tests.harness.wire import Answer

# Addresses, URLs, paths of ours, class names and files should neither be shown to a caller nor be spoken.
TELLTALE = re.compile(r"127\.0\.0\.1|https?://|localhost|/v1/|\.py\b|Error\(|Exception|0x[0-9a-f]{6}|:\d{4,5}\b")


def check_error_object(error: dict[str, Any]) -> None:
    """Check that the four members are present, only `param` may be null, and no internals are revealed."""
    assert set(error) >= {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["type"]
    assert isinstance(error["code"], str)
    assert error["code"]
    assert not TELLTALE.search(error["message"]), error["message"]
    assert CANARY not in json.dumps(error)


def check_error(answer: Answer, status: int, code: str | None = None) -> dict[str, Any]:
    """An error of the proxy's own: its status, shape and headers. Returns the error object."""
    assert answer.status == status, (answer.status, answer.body[:500])
    assert answer.complete, "the answer was cut off"
    assert (answer.header("content-type") or "").startswith("application/json"), answer.headers
    error = answer.json()["error"]
    check_error_object(error)
    assert answer.header("x-proxy-error") == error["code"]
    assert answer.header("x-request-id")
    if status in (400, 401, 403, 404, 413, 431) or error["code"] == "upstream_auth":
        assert answer.header("x-should-retry") == "false", "this error is final, so a retry is useless"
    if status in (429, 503):
        assert answer.header("x-should-retry") is None or answer.header("x-proxy-attempts"), (
            "this error is temporary, so a retry may help"
        )
    if code is not None:
        assert error["code"] == code, error
    return dict(error)


def check_stream_error(answer: Answer, before: bytes) -> dict[str, Any]:
    """Check a stream that broke between two events: `before`, one error event, no `[DONE]`, a clean end."""
    assert answer.body.startswith(before), answer.body
    rest = answer.body[len(before) :]
    assert rest.startswith(b"data: "), rest
    assert rest.endswith(b"\n\n"), rest
    assert rest.count(b"\n\n") == 1, rest
    assert b"[DONE]" not in rest
    assert answer.complete, "no final chunk after the error event"
    payload = json.loads(rest.removeprefix(b"data: "))
    check_error_object(payload["error"])
    assert "choices" not in payload
    return dict(payload["error"])
