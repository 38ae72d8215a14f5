"""One person's sign-in to a remote MCP server, from the server's requirements to the tokens.

Imports the SDK: reached only through `account.load_module`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import (
    AuthorizationCodeResult,
    OAuthFlowError,
    OAuthRegistrationError,
    OAuthTokenError,
)
from pydantic import ValidationError

from openai_proxy.secrets import vault
from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.mcp.oauth.account import Challenge, OAuthAccount, SignInUnavailable
from openai_proxy.tools.mcp.oauth.credentials import Credentials
from openai_proxy.tools.mcp.oauth.http import CheckedClient, ForbiddenAddress, checked_client
from openai_proxy.tools.mcp.oauth.provider import Flow, credentials_of, oauth_client, refused_message

log = logging.getLogger(__name__)

PATIENCE: Final = 600.0
"""Seconds that a person has to finish a sign-in."""


class SignInFailed(Exception):
    """A sign-in ended without tokens. The text says why, for the owner."""


class SignIn:
    """One sign-in, from the server's requirements to the tokens.

    `address` returns the page that a person must open, or raises SignInFailed; `outcome` is None while it is pending,
    then "" or the reason for its failure. `state` identifies its callback.
    """

    def __init__(self, account: OAuthAccount, redirect_uri: str, done: Callable[["SignIn"], None]) -> None:
        self.account = account
        self.redirect_uri = redirect_uri
        self.state = ""
        self.outcome: str | None = None
        self.expires_at = time.time() + PATIENCE
        self._done = done
        loop = asyncio.get_running_loop()
        self._address: asyncio.Future[str] = loop.create_future()
        self._answer: asyncio.Future[AuthorizationCodeResult] = loop.create_future()
        self._task = spawn(self._run(), name=f"mcp-sign-in-{account.name}")

    async def address(self) -> str:
        """The address to open in a browser. Raises SignInFailed."""
        waiting: set[asyncio.Future[Any]] = {self._address, self._task}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._address.done():
            return self._address.result()
        raise SignInFailed(self.outcome or "it was interrupted")

    def answer(self, parameters: dict[str, str]) -> None:
        """Handle the person's return with `parameters` in the redirected address. A second return has no effect."""
        if self._answer.done():
            return
        if "code" in parameters:
            self._answer.set_result(
                AuthorizationCodeResult(
                    code=parameters["code"], state=parameters.get("state"), iss=parameters.get("iss")
                )
            )
        else:
            error, more = parameters.get("error", "no code"), parameters.get("error_description", "")
            self._answer.set_exception(SignInFailed(_refusal(error, more)))

    async def finished(self, seconds: float) -> str | None:
        """The outcome, waited for at most that long."""
        await asyncio.wait({self._task}, timeout=seconds)
        return self.outcome

    async def aclose(self) -> None:
        """End it, finished or not."""
        await cancel(self._task)

    async def _run(self) -> None:
        try:
            await self._sign_in()
            self.outcome = ""
            log.info("mcp server %s: signed in", self.account.name)
        except asyncio.CancelledError:
            self.outcome = "it was cancelled"
            raise
        except Exception as problem:
            self.outcome = _words(problem)
            log.warning("mcp server %s: sign-in failed: %s", self.account.name, self.outcome)
        finally:
            if self._answer.done() and not self._answer.cancelled():
                self._answer.exception()  # retrieved, even if nobody is waiting any more
            self._done(self)

    async def _sign_in(self) -> None:
        account = self.account
        await account.load()
        found = account.credentials
        async with checked_client(account.url) as client:
            challenge = account.challenge or await _ask_for_challenge(account, client)
            if found is not None and account.configured_client is None and not _reaches(found, challenge):
                found = replace(found, client=None)
            provider = oauth_client(account, found, self.redirect_uri, self._opened, self._answered)
            request = refused_message(account.url)
            flow: Flow = provider.async_auth_flow(request)
            async with aclosing(flow):
                response = _refusal_for(request, challenge, account)
                outgoing = await anext(flow)
                assert outgoing is request
                outgoing = await flow.asend(response)
                while outgoing is not request:
                    outgoing = await flow.asend(await client.send(outgoing))
        async with account.store.locked():
            await account.keep(credentials_of(account, provider))
        account.challenge = None

    async def _opened(self, address: str) -> None:
        self.state = parse_qs(urlsplit(address).query).get("state", [""])[0]
        if not self._address.done():
            self._address.set_result(address)

    async def _answered(self) -> AuthorizationCodeResult:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._answer)
        except TimeoutError:
            raise SignInFailed(f"nobody finished it within {PATIENCE / 60:.0f} minutes") from None


async def _ask_for_challenge(account: OAuthAccount, client: CheckedClient) -> Challenge:
    """The server's current requirements. Raises SignInFailed if it requires nothing."""
    response = await client.status_of(refused_message(account.url))
    if response.status_code == 401 or account.settings is not None:
        return Challenge(401, response.headers.get("www-authenticate", ""))
    raise SignInFailed("the server does not require signing in")


def _reaches(found: Credentials, challenge: Challenge) -> bool:
    """False if our registration was for fewer scopes than are now required: servers refuse it then."""
    registered = (found.client or {}).get("scope")
    wanted = challenge.fields.get("scope", "").split() or (found.resource or {}).get("scopes_supported") or ()
    return registered is None or set(wanted) <= set(registered.split())


def _refusal_for(request: httpx2.Request, challenge: Challenge, account: OAuthAccount) -> httpx2.Response:
    """The refusal that the flow answers; the owner's scopes replace those that the server named.

    The SDK lets only the challenge decide, and ignores the client's configuration.
    """
    step_up = challenge.requires_more_access and account.signed_in
    fields = challenge.fields
    if account.settings is not None and account.settings.scopes and not step_up:
        fields["scope"] = " ".join(account.settings.scopes)
    parts = ", ".join(f'{name}="{value}"' for name, value in fields.items() if value)
    headers = {"www-authenticate": f"Bearer {parts}".strip()}
    return httpx2.Response(403 if step_up else 401, headers=headers, request=request)


def _refusal(error: str, description: str) -> str:
    if error == "access_denied":
        return "access was denied"
    words = f"the authorization server says {error[:80]}"
    return f"{words}: {description[:200]}" if description else words


def _words(problem: Exception) -> str:
    """Why a sign-in failed, in one line for the owner."""
    match problem:
        case SignInFailed() | SignInUnavailable() | ForbiddenAddress():
            text = str(problem)
        case OAuthRegistrationError():
            text = f"it does not register clients; set a client_id under auth ({problem})"
        case OAuthTokenError():
            text = f"the authorization server issued no token ({problem})"
        case OAuthFlowError():
            text = str(problem)
        case ValidationError():
            text = "the authorization server sent an invalid answer"
        case _:
            text = f"internal error: {type(problem).__name__}"
    return vault.scrub(" ".join(text.split())[:400])
