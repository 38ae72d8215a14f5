"""Tokens and registrations from signing in to remote MCP servers, in one file that only its owner can read.

The daemon and `openai-proxy mcp …` share the file. A refresh token may be valid for one use only, and a second use may
revoke the whole grant (RFC 9700 section 4.14.2), so a process that refreshes holds the file's lock and reads it again.
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
_LOCK_INTERVAL = 0.05  # seconds between two attempts; another process holds the lock for one request


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is stored about one server. `expires_at` is in seconds since the epoch, None if the server does not say.

    `client`, `issuer` and `resource` are the documents of RFC 7591, RFC 8414 and RFC 9728 as the SDK writes them;
    `authorization_server` is the one named in the resource's metadata. `url` and `client_id` are those of the
    configuration with which they were obtained: for others they are not used.
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
        """The token sent with each request."""
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
        """The same, signed out; the registration can be reused unless the server no longer knows it."""
        return replace(self, tokens=None, expires_at=None, lifetime=None, client=None if forget_client else self.client)

    def secrets(self) -> Iterator[str]:
        """Its secrets, which must not be written anywhere else."""
        for document, members in ((self.tokens, ("access_token", "refresh_token")), (self.client, ("client_secret",))):
            for member in members:
                if isinstance(value := (document or {}).get(member), str):
                    yield value


class CredentialStore:
    """The file, by server name. Blocks on the disk: called in a thread. Without a path it is only in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Credentials] = {}

    def get(self, name: str) -> Credentials | None:
        """What is stored for server `name` now, even if another process wrote it."""
        self._read()
        return self._known.get(name)

    def put(self, name: str, credentials: Credentials | None) -> None:
        """Store `credentials`, or with None forget them; on disk before this returns.

        If that fails, it is logged, and from then on everything is only kept in memory.
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
        """Lock the file against other processes; waits for them."""
        if self._path is None:
            yield
            return
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Polled rather than waited for in a thread, which could not be cancelled.
            while not _taken(descriptor):  # noqa: ASYNC110  # another process's lock is not an event of ours
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
