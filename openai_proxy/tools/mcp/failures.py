"""Why a connection did not come about or ended, in words for the status page."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What the supervisor does about it."""

    BROKEN = "broken"  # back off and try again
    AUTH = "auth"  # credentials were refused: say what to do, try seldom
    ERA = "era"  # it died of the modern probe: try again at once, the older way
    SESSION = "session"  # the server forgot our session: connect anew


@dataclass(frozen=True, slots=True)
class Failure:
    """One end of one connection."""

    kind: Kind
    text: str


def auth_hint(status: int) -> str:
    """What to do about a 401 or 403."""
    refused = "asks for credentials" if status == 401 else "refuses these credentials"
    return (
        f"the server {refused} (HTTP {status}): set headers: {{Authorization: Bearer ${{TOKEN}}}} for it in "
        "conf/mcp/servers.yaml, with a token that may use it"
    )
