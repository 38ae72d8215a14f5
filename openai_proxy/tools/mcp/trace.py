"""How far one call got on its way to a server: what decides whether it may be tried again.

A call that may have run is never repeated. Only the transport knows whether it left; it finds the trace in the
context of the task that makes the call (the SDK carries that context down to its HTTP requests).
"""

from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class CallTrace:
    """`sent`: bytes of it may have reached the server. `status`: of its HTTP response. `session`: it named one.

    `started`: it got its turn among the calls of its server. `broken`: the network failed, `status` is ours.
    """

    started: bool = False
    sent: bool = False
    broken: bool = False
    status: int | None = None
    session: bool = False


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
