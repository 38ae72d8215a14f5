"""States of a server, why a connection ended, how far a call got, and how long to wait before a server is tried again.

A call that may have run is never repeated. Only the transport knows whether it left; it finds the trace in the
context of the task that makes the call (the SDK carries that context down to its HTTP requests).

There is no permanent error. A server that was fine and dies is restarted at once, the second time too. One that keeps
failing is tried after 0.5, 1, 2 … 60 s; after eight failures in a row a slow probe every five minutes is enough, since
an edit, `mcp restart` or a request that needs it starts an attempt anyway. An HTTP server costs one refused connection
a try, so it is tried every 15 s: Home Assistant restarts in two minutes and should be found again at once.
"""

import random
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar


class ServerState(StrEnum):
    """What `/admin/status` shows."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    NEEDS_AUTH = "needs-auth"
    STOPPED = "stopped"
    DISABLED = "disabled"


class FailureKind(StrEnum):
    """What the supervisor does about it."""

    BROKEN = "broken"  # back off and try again
    AUTH = "auth"  # credentials were refused: say what to do, try seldom
    ERA = "era"  # it died of the modern probe: try again at once, the older way
    SESSION = "session"  # the server forgot our session: connect anew


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
"""How servers of one type answer clients of the other: a GET where they take POST, and the reverse."""


def type_hint(status: int, kind: str) -> str:
    """What to look at after a status that tells of a wrong address or `type`; empty for any other."""
    other = _OTHER_TYPE.get(kind)
    if status not in _WRONG_TYPE or other is None:
        return ""
    return f": is the url right? A server of the other kind needs type: {other}"


def sign_in_hint(server: str, *, more: bool = False) -> str:
    """What to do about a server that wants OAuth."""
    wants = "wants more permissions than it was given" if more else "asks for a sign-in"
    return f"the server {wants}: run openai-proxy mcp login {server}"


def excuse(server: str, state: ServerState, may_sign_in: bool) -> str:
    """What the model is told of a server in `state`, which cannot take its call."""
    match state:
        case ServerState.STOPPED:
            return f"The tool server '{server}' has been removed."
        case ServerState.NEEDS_AUTH if may_sign_in:
            return f"The tool server '{server}' needs its owner to sign in to it."
        case ServerState.NEEDS_AUTH:
            return f"The tool server '{server}' refuses our credentials; its owner has to renew them."
        case ServerState.STARTING:
            return f"The tool server '{server}' is still starting. Try again later."
        case _:
            return f"The tool server '{server}' is not available at the moment. Try again later."


T = TypeVar("T")


@dataclass(slots=True)
class CallTrace:
    """`sent`: bytes of it may have reached the server. `status`: of its HTTP response. `session`: it named one.

    `started`: it got its turn among the calls of its server. `broken`: the network failed, `status` is ours.
    `asked_for_more`: the sign-in is good, but the server wants more permissions for this.
    """

    started: bool = False
    sent: bool = False
    broken: bool = False
    status: int | None = None
    session: bool = False
    asked_for_more: bool = False


TRACE: ContextVar[CallTrace | None] = ContextVar("mcp_call", default=None)


class NotDelivered(Exception):  # not an error of ours: the caller tries once more
    """The call has surely not been executed. The text says why."""


async def traced(request: Coroutine[Any, Any, T], trace: CallTrace) -> tuple[T | None, Exception | None]:
    """Run `request`; its exception is a value, so that a call nobody waits for any more logs nothing."""
    TRACE.set(trace)
    try:
        return await request, None
    except Exception as problem:
        return None, problem


STABLE_AFTER = 30.0
"""Seconds a server must have been ready before its failures are forgotten."""

AUTH_RETRY = 300.0
"""Seconds between two tries with credentials that were refused."""

_AT_ONCE = 2  # two calls in a row may each end a server: the second is no crash loop yet
_FIRST = 0.5
_CAP_STDIO = 60.0
_CAP_HTTP = 15.0
_SLOW = 300.0
SLOW_AFTER = 8
"""Failures in a row after which a stdio server is only probed slowly."""


def retry_delay(failures: int, *, remote: bool, was_ready: bool) -> float:
    """Seconds before attempt number `failures + 1`; `was_ready`: this failure ended a connection that worked."""
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
