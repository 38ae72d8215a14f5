"""States of a server, why a connection ended, how far a call got, and how long to wait before retrying a server.

A call that may have run is never repeated. Only the transport knows whether it was sent; it finds the trace in the
context of the task that makes the call (the SDK passes that context down to its HTTP requests).

There is no permanent error. A server that worked and dies is restarted at once, the second time too. One that keeps
failing is retried after 0.5, 1, 2 … 60 s; after eight failures in a row, every five minutes is enough, since an edit,
`mcp restart` or a request that needs it starts an attempt anyway. A failed attempt at an HTTP server costs only one
refused connection, so it is retried every 15 s: Home Assistant restarts in two minutes and should be found soon.
"""

import random
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar


class ServerState(StrEnum):
    """Shown in `/admin/status`."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    NEEDS_AUTH = "needs-auth"
    STOPPED = "stopped"
    DISABLED = "disabled"


class FailureKind(StrEnum):
    """What the supervisor does about it."""

    BROKEN = "broken"  # back off and retry
    AUTH = "auth"  # credentials were refused: say what to do, retry rarely
    ERA = "era"  # it crashed on the modern probe: retry at once, the older way
    SESSION = "session"  # the server forgot our session: reconnect


@dataclass(frozen=True, slots=True)
class Failure:
    """One end of one connection."""

    kind: FailureKind
    text: str


def auth_hint(status: int) -> str:
    """What to do about a 401 or 403."""
    refused = "asks for credentials" if status == 401 else "refuses these credentials"
    return (
        f"the server {refused} (HTTP {status}): set headers: {{Authorization: Bearer ${{TOKEN}}}} for it in "
        "conf/mcp/servers.yaml, with a token that may use it"
    )


_OTHER_TYPE: Final = {"sse": "streamablehttp", "streamablehttp": "sse"}
_WRONG_TYPE: Final = frozenset({400, 404, 405, 406, 415, 501})
"""How servers of one type answer clients of the other: a GET where they expect POST, and the reverse."""


def type_hint(status: int, kind: str) -> str:
    """A hint for a status that suggests a wrong address or `type`; empty for any other."""
    other = _OTHER_TYPE.get(kind)
    if status not in _WRONG_TYPE or other is None:
        return ""
    return f": is the url right? A server of the other kind needs type: {other}"


def sign_in_hint(server: str, *, more: bool = False) -> str:
    """What to do about a server that wants OAuth."""
    wants = "needs more permissions than were granted" if more else "requires signing in"
    return f"the server {wants}: run openai-proxy mcp login {server}"


def still_serves(name: str) -> str:
    """What to add to the failure of server `name`'s successor: what serves meanwhile, and what else can be tried."""
    return f"; the server from before the edit keeps serving ('openai-proxy mcp restart {name}' ends that one first)"


def excuse(server: str, state: ServerState, may_sign_in: bool) -> str:
    """What to tell the model about a server in `state`, which cannot run its call."""
    match state:
        case ServerState.STOPPED:
            return f"The tool server '{server}' has been removed."
        case ServerState.NEEDS_AUTH if may_sign_in:
            return f"The tool server '{server}' needs its owner to sign in."
        case ServerState.NEEDS_AUTH:
            return f"The tool server '{server}' refuses our credentials; its owner must renew them."
        case ServerState.STARTING:
            return f"The tool server '{server}' is still starting. Try again later."
        case _:
            return f"The tool server '{server}' is not available at the moment. Try again later."


T = TypeVar("T")


@dataclass(slots=True)
class CallTrace:
    """`sent`: some of its bytes may have reached the server. `status`: of its HTTP response. `session`: it named one.

    `started`: it got its turn among its server's calls. `broken`: the network failed, and `status` is ours.
    `more_access_required`: the sign-in is valid, but the server requires more permissions for this. `propagated`: the
    call's trace context, which an HTTP server also gets as header fields (https://www.w3.org/TR/trace-context/).
    """

    started: bool = False
    sent: bool = False
    broken: bool = False
    status: int | None = None
    session: bool = False
    more_access_required: bool = False
    propagated: dict[str, str] = field(default_factory=dict)


TRACE: ContextVar[CallTrace | None] = ContextVar("mcp_call", default=None)


class NotDelivered(Exception):  # not an error of ours: the caller retries once
    """The call was certainly not executed. The text says why."""


async def traced(request: Coroutine[Any, Any, T], trace: CallTrace) -> tuple[T | None, Exception | None]:
    """Run `request`; its exception becomes a value, so that an abandoned call logs nothing."""
    TRACE.set(trace)
    try:
        return await request, None
    except Exception as problem:
        return None, problem


STABLE_AFTER = 30.0
"""Seconds that a server must be ready before its failures are forgotten."""

AUTH_RETRY = 300.0
"""Seconds between two attempts with refused credentials."""

_AT_ONCE = 2  # two calls in a row may each crash a server: the second time is not a crash loop yet
_FIRST = 0.5
_CAP_STDIO = 60.0
_CAP_HTTP = 15.0
_SLOW = 300.0
SLOW_AFTER = 8
"""Failures in a row after which a stdio server is retried only rarely."""


def retry_delay(failures: int, *, remote: bool, was_ready: bool) -> float:
    """Seconds before attempt number `failures + 1`; `was_ready`: this failure ended a working connection."""
    if was_ready:
        failures -= _AT_ONCE
        if failures <= 0:
            return 0.0
    if remote:
        wait = min(_CAP_HTTP, _FIRST * float(2 ** min(failures - 1, 10)))
    elif failures > SLOW_AFTER:
        wait = _SLOW
    else:
        wait = min(_CAP_STDIO, _FIRST * float(2 ** (failures - 1)))
    return wait * random.uniform(0.75, 1.25)  # noqa: S311  # jitter, not cryptography
