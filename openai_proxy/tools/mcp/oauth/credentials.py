"""What signing in to remote MCP servers left us: tokens and registrations, in one file that only its owner can read.

The daemon and `openai-proxy mcp …` share the file. A refresh token may be good for one use only, and a second use of
it may end the whole grant (RFC 9700 section 4.14.2), so whoever refreshes holds the file's lock and reads it again.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openai_proxy import statefile
from openai_proxy.secrets import vault

log = logging.getLogger(__name__)

Json = dict[str, Any]

VERSION = 1
_LOCK_INTERVAL = 0.05  # seconds between two tries; another process holds the file for one request


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is kept of one server. `expires_at` is in seconds since the epoch, None where the server does not say.

    `client`, `issuer` and `resource` are the documents of RFC 7591, RFC 8414 and RFC 9728 as the SDK writes them;
    `authorization_server` is the one that the resource's metadata name. `url` and `client_id` are those of the
    configuration under which they were got: for another one they are not used.
    """

    url: str
    client_id: str | None = None
    tokens: Json | None = field(default=None, repr=False)
    expires_at: float | None = None
    lifetime: float | None = None
    client: Json | None = field(default=None, repr=False)
    issuer: Json | None = None
    resource: Json | None = None
    authorization_server: str | None = None

    @property
    def access_token(self) -> str | None:
        """The token that goes with each request."""
        return self.tokens.get("access_token") if self.tokens else None

    @property
    def renewable(self) -> bool:
        """True if the token can be replaced without a person."""
        return bool(self.tokens and self.tokens.get("refresh_token"))

    @property
    def scopes(self) -> tuple[str, ...]:
        """What was granted, as far as it is known."""
        return tuple(str((self.tokens or {}).get("scope") or "").split())

    def without_tokens(self, *, forget_client: bool = False) -> "Credentials":
        """The same, signed out; the registration may be used again unless the server no longer knows it."""
        return replace(self, tokens=None, expires_at=None, lifetime=None, client=None if forget_client else self.client)

    def secrets(self) -> Iterator[str]:
        """What of it is to be written nowhere else."""
        for document, members in ((self.tokens, ("access_token", "refresh_token")), (self.client, ("client_secret",))):
            for member in members:
                if isinstance(value := (document or {}).get(member), str):
                    yield value


class CredentialStore:
    """The file, by server name. Blocks on the disk: called in a thread. Without a path it is memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Credentials] = {}

    def get(self, name: str) -> Credentials | None:
        """What is kept for server `name` now, also if another process wrote it."""
        self._read()
        return self._known.get(name)

    def put(self, name: str, credentials: Credentials | None) -> None:
        """Keep `credentials`, or with None forget them; written to the disk before this returns.

        Where that cannot be, it is said, and from then on everything is kept for the life of the process alone.
        """
        self._read()
        if credentials is None:
            self._known.pop(name, None)
        else:
            self._known[name] = credentials
        self._learn(name)
        if self._path is not None:
            try:
                self._write(self._path)
            except OSError as error:
                log.warning("sign-ins to MCP servers cannot be saved, and end with this process: %s", error.strerror)
                self._path = None

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the file against other processes; waits for them."""
        if self._path is None:
            yield
            return
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Asked for again and again rather than waited for in a thread, which could not be cancelled.
            while not _taken(descriptor):  # noqa: ASYNC110  # another process's lock is no event of ours
                await asyncio.sleep(_LOCK_INTERVAL)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            servers = statefile.load(self._path, VERSION).get("servers", {})
            self._known = {name: Credentials(**members) for name, members in servers.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("the sign-ins to MCP servers cannot be read: %s", type(error).__name__)
            self._known = {}
        for name in self._known:
            self._learn(name)

    def _learn(self, name: str) -> None:
        credentials = self._known.get(name)
        vault.rotate(f"mcp {name}", credentials.secrets() if credentials is not None else ())

    def _write(self, path: Path) -> None:
        document = {
            "servers": {
                name: {member: getattr(credentials, member) for member in Credentials.__slots__}
                for name, credentials in self._known.items()
            }
        }
        statefile.save(path, VERSION, document, sync=True)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
