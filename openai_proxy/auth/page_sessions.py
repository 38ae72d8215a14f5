"""Sessions of the page: how a browser stays signed in, and the one-time codes for signing in.

A session is a random token in a cookie; only its SHA-256 is stored, so the saved file admits nobody. A session opened
with an admin key ends when that key is removed from the configuration.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from openai_proxy import statefile

log = logging.getLogger(__name__)

VERSION = 1
LIFETIME: Final = 30 * 86400.0  # seconds a session lasts, contract §13
CODE_LIFETIME: Final = 600.0  # seconds for which a one-time code is valid
MAX_SESSIONS: Final = 50  # the least recently used one is dropped
MAX_CODES: Final = 20
LOGIN: Final = "/admin/login?code="  # and a one-time code: the path of an address that signs in
_SAVE_USE: Final = 3600.0  # seconds between two writes of nothing but "last used"
_NAME: Final = "openai_proxy_page"


@dataclass(slots=True)
class PageSession:
    """One signed-in browser. Times are seconds since the epoch; `key` is the SHA-256 of its admin key, if any."""

    id: str
    token: str  # SHA-256 of the cookie's value, in hex
    created_at: float
    last_used: float
    remote: str
    browser: str
    key: str | None = None


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class PageSessions:
    """All sessions of one daemon, saved in `path`. Belongs to the event loop."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._codes: dict[str, float] = {}
        self._sessions: dict[str, PageSession] | None = None  # by token; read when first needed
        self._instance = ""
        self._saved_use = 0.0

    @property
    def cookie(self) -> str:
        """The cookie's name, specific to the state directory: cookies do not distinguish two ports of a host."""
        self._read()
        return f"{_NAME}_{self._instance}"

    def new_code(self) -> tuple[str, float]:
        """A code that opens one session, and when it expires (seconds since the epoch)."""
        now = self._clock()
        self._codes = {code: until for code, until in self._codes.items() if until > now}
        while len(self._codes) >= MAX_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(24)
        until = self._codes[_digest(code)] = now + CODE_LIFETIME
        return code, until

    def redeem(self, code: str) -> bool:
        """Use up a one-time code. False if it is unknown, was used or has expired."""
        until = self._codes.pop(_digest(code), None)
        return until is not None and until > self._clock()

    def open(self, remote: str, browser: str, key: str | None = None) -> tuple[str, PageSession]:
        """A new session and its token, which is not stored. `key`: the SHA-256, in hex, of the admin key."""
        sessions = self._current()
        token, now = secrets.token_urlsafe(32), self._clock()
        session = PageSession(secrets.token_hex(4), _digest(token), now, now, remote, browser[:200], key)
        while len(sessions) >= MAX_SESSIONS:
            oldest = min(sessions.values(), key=lambda known: known.last_used)
            del sessions[oldest.token]
        sessions[session.token] = session
        self._save()
        return token, session

    def find(self, headers: Mapping[str, str], is_admin_key: Callable[[str], bool]) -> PageSession | None:
        """The session whose cookie a request carries, None if it has none that is valid.

        `is_admin_key` says whether a key's SHA-256 (hex) is configured now.
        """
        header = headers.get("Cookie")
        if header is None or _NAME not in header:
            return None
        token = _cookie(header, self.cookie)
        session = self._current().get(_digest(token)) if token else None
        if session is None or (session.key is not None and not is_admin_key(session.key)):
            return None
        session.last_used = now = self._clock()
        if now - self._saved_use > _SAVE_USE:
            self._save()
        return session

    def all(self) -> list[PageSession]:
        """All sessions, the most recently used first."""
        return sorted(self._current().values(), key=lambda session: session.last_used, reverse=True)

    def close(self, session_id: str) -> bool:
        """End a session; False if there is none with this id."""
        sessions = self._current()
        for token, session in sessions.items():
            if session.id == session_id:
                del sessions[token]
                self._save()
                return True
        return False

    def _current(self) -> dict[str, PageSession]:
        """The sessions that have not expired."""
        sessions = self._read()
        limit = self._clock() - LIFETIME
        for token in [token for token, session in sessions.items() if session.created_at <= limit]:
            del sessions[token]
        return sessions

    def _read(self) -> dict[str, PageSession]:
        if self._sessions is None:
            self._sessions = {}
            try:
                document = statefile.load(self._path, VERSION, lambda before: before)
                self._instance = str(document.get("instance", ""))
                for member in document.get("sessions", ()):
                    session = PageSession(**member)
                    self._sessions[session.token] = session
            except (ValueError, TypeError, KeyError):
                log.warning("the sessions of the page could not be read; everyone must sign in again")
                self._sessions = {}
            self._instance = self._instance or secrets.token_hex(4)
        return self._sessions

    def _save(self) -> None:
        """Some hundred bytes, replaced atomically; without the file, sessions end with the process."""
        self._saved_use = self._clock()
        document = {"instance": self._instance, "sessions": [asdict(session) for session in self._read().values()]}
        try:
            statefile.save(self._path, VERSION, document)
        except OSError as error:
            log.warning("the sessions of the page could not be written: %s", error.strerror)


def _cookie(header: str, name: str) -> str | None:
    """The value of one cookie (RFC 6265 §4.2.1), or None."""
    for pair in header.split(";"):
        key, equals, value = pair.strip().partition("=")
        if equals and key == name:
            return value
    return None
