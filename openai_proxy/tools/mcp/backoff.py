"""How long to wait before a server is tried again. Never for ever: there is no permanent error.

A server that was fine and dies is restarted at once, the second time too. One that keeps failing is tried after 0.5,
1, 2 … 60 s; after eight failures in a row a slow probe every five minutes is enough, since an edit, `mcp restart` or a
request that wants it starts an attempt anyway. An HTTP server costs one refused connection a try, so it is looked for
every 15 s: Home Assistant restarts in two minutes and should be found again at once.
"""

import random

STABLE = 30.0
"""Seconds a server must have been ready before its failures are forgotten."""

NEEDS_AUTH = 300.0
"""Seconds between two tries with credentials that were refused."""

_AT_ONCE = 2  # two calls in a row may each end a server: the second is no crash loop yet
_FIRST = 0.5
_CAP_STDIO = 60.0
_CAP_HTTP = 15.0
_SLOW = 300.0
SLOW_AFTER = 8
"""Failures in a row after which a stdio server is only probed slowly."""


def delay(failures: int, *, remote: bool, was_ready: bool) -> float:
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
