"""The sign-in to one remote server, as its connections use it: a token for each request, refreshed before it expires.

    token()      for a request; tokens are refreshed in the background well before they expire, else here
    renewed()    after the server refused one: another process's newer token, or a refresh; else a person must sign in
    challenged() what the server requires, for the next sign-in

Lives as long as the process, shared by a server's successive connections. Does not import the SDK; the OAuth code
(`provider.py`, `sign_in.py`) is loaded when needed.
"""

import asyncio
import importlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.mcp.oauth.credentials import Credentials, CredentialStore
from openai_proxy.tools.mcp.settings import OAuthSettings

log = logging.getLogger(__name__)

_LAST_MOMENT = 30.0  # seconds before its expiry from which a token is no longer sent: clocks differ, calls take time
_EARLY = 300.0  # seconds before its expiry at which a refresh starts
_RETRY = 10.0  # seconds between two attempts to refresh in the background
_SHORTEST = 0.5  # seconds between two refreshes, however short-lived the tokens are
_FIELD = re.compile(r'\b(resource_metadata|error|scope)\s*=\s*(?:"([^"]*)"|([^\s,"]+))', re.IGNORECASE)


class SignInNeeded(Exception):
    """The sign-in has ended: a person must sign in again."""


class SignInUnavailable(Exception):
    """A token cannot be refreshed at the moment; the text says why. Trying again later may help."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server's answer to a refused request (RFC 6750 section 3, RFC 9728 section 5.1)."""

    status: int
    header: str

    @property
    def fields(self) -> dict[str, str]:
        """`resource_metadata`, `error` and `scope`, if present."""
        return {name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(self.header)}

    @property
    def requires_more_access(self) -> bool:
        """True if the sign-in is valid but lacks permissions."""
        return self.status == 403 and self.fields.get("error") == "insufficient_scope"


class OAuthAccount:
    """One server's sign-in. `challenge` is what the server last required, None once that is met.

    `over` is called when a refresh is refused: nobody is signed in any more.
    """

    def __init__(
        self,
        name: str,
        url: str,
        settings: OAuthSettings | None,
        store: CredentialStore,
        over: Callable[[], None],
    ) -> None:
        self.name = name
        self.url = url
        self.settings = settings
        self.store = store
        self.challenge: Challenge | None = None
        self._loaded = False
        self._credentials: Credentials | None = None
        self._refreshing: asyncio.Task[SignInNeeded | SignInUnavailable | None] | None = None
        self._over = over
        self._timer: asyncio.TimerHandle | None = None

    @property
    def configured_client(self) -> str | None:
        """The client id of the configuration."""
        return self.settings.client_id if self.settings is not None else None

    @property
    def credentials(self) -> Credentials | None:
        """The state of the sign-in, as last read."""
        return self._credentials

    @property
    def signed_in(self) -> bool:
        """True if there is a token, valid or not."""
        return self._credentials is not None and self._credentials.access_token is not None

    @property
    def offers_sign_in(self) -> bool:
        """True if a person could sign in: the configuration or the server says so, or somebody did before."""
        was_challenged = self.challenge is not None and "resource_metadata" in self.challenge.fields
        return self.settings is not None or was_challenged or self._credentials is not None

    def status(self) -> dict[str, Any] | None:
        """For the status and the page; None if there is nothing to sign in to."""
        if not self.offers_sign_in:
            return None
        found = self._credentials
        wanted = self.challenge.fields.get("scope", "").split() if self.challenge is not None else []
        return {
            "signed_in": self.signed_in,
            "scopes": list(found.scopes) if found is not None else [],
            "wanted_scopes": [scope for scope in wanted if found is None or scope not in found.scopes],
            "expires_at": found.expires_at if found is not None else None,
        }

    async def token(self) -> str | None:
        """The token for a request made now, None if nobody has signed in.

        Raises SignInNeeded if the sign-in has ended, SignInUnavailable if a refresh failed temporarily.
        """
        if not self._loaded:
            await self.load()
        found = self._credentials
        if found is None or found.access_token is None:
            return None
        if found.expires_at is None:
            return found.access_token
        left, lifetime = found.expires_at - time.time(), found.lifetime or 3600.0
        if left <= (min(_LAST_MOMENT, lifetime / 4) if found.renewable else 0.0):
            await self._refresh(found.access_token)
            return self._credentials.access_token if self._credentials is not None else None
        return found.access_token

    async def renewed(self, refused: str) -> str | None:
        """Another token after `refused` was refused; None if a person must sign in. Raises SignInUnavailable."""
        try:
            await self._refresh(refused)
        except SignInNeeded:
            return None
        return self._credentials.access_token if self._credentials is not None else None

    def challenged(self, status: int, header: str) -> None:
        """Note that the server has finally refused a request."""
        self.challenge = Challenge(status, header)

    async def load(self) -> None:
        """Read the stored sign-in, if it belongs to this server and this client."""
        found = await asyncio.to_thread(self.store.get, self.name)
        fits = found is not None and found.url == self.url and found.client_id == self.configured_client
        self._take(found if fits else None)

    async def keep(self, credentials: Credentials) -> None:
        """Store the result of a sign-in or a refresh."""
        await asyncio.to_thread(self.store.put, self.name, credentials)
        self._take(credentials)

    async def forget(self) -> None:
        """Sign out: remove the tokens and the registration."""
        await asyncio.to_thread(self.store.put, self.name, None)
        self._take(None)
        self.challenge = None

    def close(self) -> None:
        """Start no more refreshes; running ones continue."""
        if self._timer is not None:
            self._timer.cancel()

    async def aclose(self) -> None:
        """Cancel what is running."""
        self.close()
        await cancel(self._refreshing)

    def _take(self, credentials: Credentials | None) -> None:
        self._credentials, self._loaded = credentials, True
        self.close()
        if credentials is not None and credentials.renewable and credentials.expires_at is not None:
            lifetime = credentials.lifetime or 3600.0
            self._refresh_in(credentials.expires_at - time.time() - min(_EARLY, lifetime / 2))

    def _refresh_in(self, seconds: float) -> None:
        """Refresh ahead of time, so that no request has to wait for it."""
        self._timer = asyncio.get_running_loop().call_later(max(seconds, _SHORTEST), self._ahead_of_time)

    def _ahead_of_time(self) -> None:
        if self._credentials is not None and self._credentials.access_token is not None:
            self._refresh_soon(self._credentials.access_token)

    async def _refresh(self, old: str) -> None:
        """Get another token than `old`, or raise. Concurrent callers share one request."""
        task = self._refresh_soon(old)
        try:
            problem = await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            problem = SignInUnavailable("the refresh of its token was interrupted")
        if problem is not None:
            raise problem

    def _refresh_soon(self, old: str) -> "asyncio.Task[SignInNeeded | SignInUnavailable | None]":
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = spawn(self._refreshed(old), name=f"mcp-refresh-{self.name}")
        return self._refreshing

    async def _refreshed(self, old: str) -> SignInNeeded | SignInUnavailable | None:
        """Replace the token `old`. An error is returned, not raised: a refresh ahead of time may fail unnoticed."""
        async with self.store.locked():
            await self.load()
            found = self._credentials
            if found is None or found.access_token is None:
                return SignInNeeded()
            if found.access_token != old:
                return None  # another process has done it
            if not found.renewable:
                await self.keep(found.without_tokens())
                return SignInNeeded()
            module = await load_module("provider")
            try:
                await self.keep(await module.refresh(self, found))
            except module.SignInRefused as refused:
                log.warning("mcp server %s: its sign-in has ended: %s", self.name, refused)
                await self.keep(found.without_tokens(forget_client=refused.client_is_unknown))
                self._over()
                return SignInNeeded()
            except SignInUnavailable as problem:
                self._refresh_in(_RETRY)
                return problem
        return None


async def load_module(name: str) -> ModuleType:
    """The file `name` of this package, which imports the SDK, loaded without stalling the loop."""
    return await asyncio.to_thread(importlib.import_module, f"openai_proxy.tools.mcp.oauth.{name}")
