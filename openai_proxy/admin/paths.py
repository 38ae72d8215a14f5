"""Which paths are served besides the API; the rest of the package is imported on the first request for one of them."""

from typing import Final

HEALTH: Final = frozenset({"/health", "/v1/health"})
CALLBACK: Final = "/oauth/callback"
API: Final = "/admin/v1"
"""Below it admins can use the whole API without a client key: for the page's playground."""

_ELSEWHERE: Final = HEALTH | {"/", "/metrics", CALLBACK}


def owns(path: str) -> bool:
    """True for a raw path that is served here rather than by the API."""
    return path in _ELSEWHERE or path == "/admin" or path.startswith("/admin/")
