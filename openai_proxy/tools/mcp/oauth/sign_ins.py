"""All accounts, and pending sign-ins: started by a person, ended by the callback, a timeout, or a later one.

A callback is identified by its `state`, which only the authorization server and the person's browser have seen; an
unknown one has no effect.
"""

import asyncio
import functools
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from openai_proxy.errors import BadRequest, NotFound, UpstreamError
from openai_proxy.tools.mcp.oauth.account import OAuthAccount, SignInUnavailable, load_module
from openai_proxy.tools.mcp.oauth.credentials import CredentialStore
from openai_proxy.tools.mcp.settings import ServerSettings

if TYPE_CHECKING:
    from openai_proxy.tools.mcp.oauth.sign_in import SignIn

_EXCHANGE: Final = 60.0  # seconds from the callback to the tokens


class SignIns:
    """`signed_in` and `signed_out` are called with the name of the server."""

    def __init__(self, path: Path | None, signed_in: Callable[[str], None], signed_out: Callable[[str], None]) -> None:
        self._store = CredentialStore(path)
        self._signed_in = signed_in
        self._signed_out = signed_out
        self._accounts: dict[str, OAuthAccount] = {}
        self._latest: dict[str, SignIn] = {}

    def account(self, config: ServerSettings) -> OAuthAccount | None:
        """The account of a server, the same for all its connections; None if it is not remote."""
        if config.url is None:
            return None
        account = self._accounts.get(config.name)
        if account is None or account.url != config.url or account.configured_client != _client_id(config):
            if account is not None:
                account.close()
            over = functools.partial(self._signed_out, config.name)
            account = self._accounts[config.name] = OAuthAccount(
                config.name, config.url, config.auth, self._store, over
            )
        account.settings = config.auth
        return account

    def retain(self, names: Collection[str]) -> None:
        """Only these servers are configured: the tokens of others are kept, but no longer refreshed."""
        for name in self._accounts.keys() - names:
            self._accounts.pop(name).close()

    async def begin(self, config: ServerSettings, redirect_uri: str) -> dict[str, Any]:
        """Start to sign in; returns the address that a person must open. A pending sign-in is joined.

        Raises BadRequest if there is nothing to sign in to, UpstreamError if the server cannot be reached.
        """
        account = self.account(config)
        if account is None:
            raise BadRequest(f"'{config.name}' is a local server: there is nothing to sign in to.")
        if config.auth is not None and config.auth.redirect_uri is not None:
            redirect_uri = config.auth.redirect_uri
        module = await load_module("sign_in")
        sign_in = self._latest.get(config.name)
        if sign_in is None or sign_in.outcome is not None or sign_in.redirect_uri != redirect_uri:
            if sign_in is not None:
                await sign_in.aclose()
            sign_in = self._latest[config.name] = module.SignIn(account, redirect_uri, self._ended)
        try:
            address = await sign_in.address()
        except module.SignInFailed as problem:
            raise UpstreamError(f"Signing in to '{config.name}' failed: {problem}.", code="sign_in_failed") from None
        return {**self._describe(sign_in), "authorization_url": address}

    def status(self, name: str) -> dict[str, Any]:
        """The latest sign-in to server `name`: its `state` is none, waiting, done or failed."""
        sign_in = self._latest.get(name)
        return {"server": name, "state": "none"} if sign_in is None else self._describe(sign_in)

    async def ended(self, name: str, seconds: float) -> dict[str, Any]:
        """`status`, once the latest sign-in has ended or `seconds` have passed."""
        if (sign_in := self._latest.get(name)) is not None and seconds > 0:
            await sign_in.finished(seconds)
        return self.status(name)

    async def callback(self, parameters: Mapping[str, str]) -> tuple[str, str]:
        """The browser has returned: the server's name, and "" or why it failed. Raises NotFound for an unknown one."""
        state = parameters.get("state", "")
        found = [
            sign_in
            for sign_in in self._latest.values()
            if sign_in.outcome is None and state and secrets.compare_digest(sign_in.state.encode(), state.encode())
        ]
        if not found:
            raise NotFound("This sign-in is unknown or has expired. Please start again.", code="unknown_sign_in")
        sign_in = found[0]
        sign_in.answer(dict(parameters))
        outcome = await sign_in.finished(_EXCHANGE)
        return sign_in.account.name, outcome if outcome is not None else "the authorization server does not answer"

    async def pasted(self, address: str) -> tuple[str, str]:
        """The same with the address that the browser could not open. Also raises BadRequest."""
        try:
            parameters = dict(parse_qsl(urlsplit(address.strip()).query, keep_blank_values=True))
        except ValueError:
            parameters = {}
        if "state" not in parameters:
            raise BadRequest("This is not the address that the browser was sent to: it contains no state.")
        return await self.callback(parameters)

    async def cancel(self, name: str) -> None:
        """Cancel the pending sign-in, if there is one."""
        if (sign_in := self._latest.get(name)) is not None:
            await sign_in.aclose()

    async def sign_out(self, config: ServerSettings) -> bool:
        """Forget the tokens, here and (if possible) at the authorization server; False if there were none."""
        account = self.account(config)
        if account is None:
            raise BadRequest(f"'{config.name}' is a local server: there is nothing to sign out of.")
        await self.cancel(config.name)
        await account.load()
        found = account.credentials
        await account.forget()
        if found is not None and found.tokens is not None:
            module = await load_module("provider")
            try:
                await module.revoke(account, found)
            except SignInUnavailable:
                pass  # the tokens are gone here, and will expire there
        return found is not None

    async def aclose(self) -> None:
        """Cancel everything that is pending."""
        await asyncio.gather(
            *(sign_in.aclose() for sign_in in self._latest.values()),
            *(account.aclose() for account in self._accounts.values()),
        )

    def _describe(self, sign_in: "SignIn") -> dict[str, Any]:
        state = {None: "waiting", "": "done"}.get(sign_in.outcome, "failed")
        return {
            "server": sign_in.account.name,
            "state": state,
            "redirect_uri": sign_in.redirect_uri,
            "expires_at": sign_in.expires_at,
            **({"error": sign_in.outcome} if state == "failed" else {}),
        }

    def _ended(self, sign_in: "SignIn") -> None:
        if not sign_in.outcome:
            self._signed_in(sign_in.account.name)


def _client_id(config: ServerSettings) -> str | None:
    return config.auth.client_id if config.auth is not None else None
