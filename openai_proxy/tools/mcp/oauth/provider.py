"""Signing in to a remote MCP server and refreshing its tokens, by driving the SDK's OAuth client.

The SDK's flow runs inside an HTTP request, serialises all requests of its server, and after a restart forgets where its
tokens came from (2.3.0: a stored token counts as valid forever, and is refreshed at the resource server). So it is not
part of the transport: it runs on its own when a person signs in or a token must be refreshed, with what is already
known, and its results are read afterwards. Discovery, registration, PKCE, step-up and the checks of issuers, states and
redirects are the SDK's own.

Imports the SDK: reached only through `account.load_module`.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import orjson
from mcp.client.auth import (
    AuthorizationCodeResult,
    OAuthClientProvider,
    OAuthFlowError,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp_types import LATEST_PROTOCOL_VERSION
from pydantic import AnyUrl, ValidationError

from openai_proxy.tools.mcp.oauth.account import OAuthAccount, SignInUnavailable
from openai_proxy.tools.mcp.oauth.credentials import Credentials
from openai_proxy.tools.mcp.oauth.http import ForbiddenAddress, checked_client
from openai_proxy.tools.mcp.sdk_internals import learnt, remind

log = logging.getLogger(__name__)

_EXPIRED: Final = 1.0  # a time long past, but not 0, which means "never" to the SDK
_REFUSALS: Final = frozenset(
    {"invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
"""Errors of RFC 6749 section 5.2 that a retry cannot change."""

Flow = AsyncGenerator[httpx2.Request, httpx2.Response]


class SignInRefused(Exception):
    """The authorization server refuses to refresh the tokens. `client_is_unknown`: it no longer knows us, either."""

    def __init__(self, text: str, *, client_is_unknown: bool) -> None:
        super().__init__(text)
        self.client_is_unknown = client_is_unknown


class _Storage:
    """What the SDK's flow reads and writes; its results are read from its context afterwards."""

    def __init__(self, tokens: OAuthToken | None, client: OAuthClientInformationFull | None) -> None:
        self._tokens = tokens
        self._client = client

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


async def refresh(account: OAuthAccount, found: Credentials) -> Credentials:
    """Exchange the refresh token of `found`. Raises SignInRefused, or SignInUnavailable if trying later may help."""
    provider = oauth_client(account, found, redirect_uri=_any_redirect(found))
    provider.context.token_expiry_time = _EXPIRED
    request = refused_message(account.url)
    async with checked_client(account.url) as client:
        flow: Flow = provider.async_auth_flow(request)
        async with aclosing(flow):
            try:
                outgoing = await anext(flow)
                if outgoing is request:
                    raise SignInRefused("it cannot be refreshed", client_is_unknown=False)
                response = await client.send(outgoing)
                outgoing = await flow.asend(response)
                while outgoing is not request:  # a redirect within the origin
                    response = await client.send(outgoing)
                    outgoing = await flow.asend(response)
            except ForbiddenAddress as problem:
                raise SignInRefused(str(problem), client_is_unknown=False) from None
            except (OAuthFlowError, ValidationError):
                raise SignInUnavailable("its authorization server sent an invalid answer") from None
    if response.status_code == 200:
        if "authorization" in request.headers:
            return credentials_of(account, provider)
        raise SignInUnavailable("its authorization server sent an invalid answer")
    error = _error_of(response)
    if response.status_code in (400, 401) and error in _REFUSALS:
        unknown = error in ("invalid_client", "unauthorized_client")
        raise SignInRefused(f"the authorization server says {error}", client_is_unknown=unknown)
    raise SignInUnavailable(f"its authorization server answered with HTTP status {response.status_code}")


async def revoke(account: OAuthAccount, found: Credentials) -> None:
    """Revoke the tokens at the authorization server (RFC 7009), if it supports that."""
    provider = oauth_client(account, found, redirect_uri=_any_redirect(found))
    metadata, tokens = provider.context.oauth_metadata, found.tokens or {}
    token = tokens.get("refresh_token") or found.access_token
    if metadata is None or metadata.revocation_endpoint is None or token is None:
        return
    provider.context.client_info = _client(account, found, _any_redirect(found))
    data = {"token": token, "client_id": provider.context.client_info.client_id if provider.context.client_info else ""}
    data, headers = provider.context.prepare_token_auth(data, {})
    async with checked_client(account.url) as client:
        try:
            await client.send(httpx2.Request("POST", str(metadata.revocation_endpoint), data=data, headers=headers))
        except ForbiddenAddress as problem:
            raise SignInUnavailable(str(problem)) from None


def oauth_client(
    account: OAuthAccount,
    found: Credentials | None,
    redirect_uri: str,
    opened: Callable[[str], Awaitable[None]] | None = None,
    answered: Callable[[], Awaitable[AuthorizationCodeResult]] | None = None,
) -> OAuthClientProvider:
    """The SDK's client, with what is already known."""
    local = urlsplit(redirect_uri).hostname in ("127.0.0.1", "::1", "localhost")
    metadata = OAuthClientMetadata(
        client_name="openai-proxy",
        redirect_uris=[AnyUrl(redirect_uri)],
        application_type="native" if local else "web",
    )
    client = _client(account, found, redirect_uri)
    tokens = OAuthToken.model_validate(found.tokens) if found is not None and found.tokens else None

    async def open_page(address: str) -> None:
        if account.configured_client is not None:
            _choose_method(provider)
        assert opened is not None
        await opened(address)

    provider = OAuthClientProvider(
        account.url, metadata, _Storage(tokens, client),
        redirect_handler=open_page if opened is not None else None, callback_handler=answered,
    )  # fmt: skip
    if found is not None:
        remind(provider, found.issuer, found.resource, found.authorization_server)
    return provider


def _client(account: OAuthAccount, found: Credentials | None, redirect_uri: str) -> OAuthClientInformationFull | None:
    """The registration to use: the configured one, or an earlier one that is valid for this redirect address."""
    stored = OAuthClientInformationFull.model_validate(found.client) if found is not None and found.client else None
    settings = account.settings
    if settings is not None and settings.client_id is not None:
        return OAuthClientInformationFull(
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            redirect_uris=[AnyUrl(redirect_uri)],
            token_endpoint_auth_method=stored.token_endpoint_auth_method if stored is not None else None,
        )
    if stored is None:
        return None
    ends = stored.client_secret_expires_at
    known = redirect_uri in [str(uri) for uri in stored.redirect_uris or ()]
    return stored if known and (not ends or ends > time.time()) else None


def _choose_method(provider: OAuthClientProvider) -> None:
    """How a manually registered client authenticates: according to the server's metadata."""
    client, metadata = provider.context.client_info, provider.context.oauth_metadata
    if client is None or client.client_secret is None:
        return
    offered = metadata.token_endpoint_auth_methods_supported if metadata is not None else None
    # RFC 8414 section 2: if omitted, it is client_secret_basic.
    basic = offered is None or "client_secret_basic" in offered
    client.token_endpoint_auth_method = "client_secret_basic" if basic else "client_secret_post"


def credentials_of(account: OAuthAccount, provider: OAuthClientProvider) -> Credentials:
    """The results of a successful flow."""
    tokens = provider.context.current_tokens
    assert tokens is not None
    lifetime = float(tokens.expires_in) if tokens.expires_in else None
    client, issuer, resource, server = learnt(provider)
    return Credentials(
        url=account.url,
        client_id=account.configured_client,
        tokens=tokens.model_dump(mode="json", exclude_none=True),
        expires_at=time.time() + lifetime if lifetime is not None else None,
        lifetime=lifetime,
        client=client,
        issuer=issuer,
        resource=resource,
        authorization_server=server,
    )


def _any_redirect(found: Credentials) -> str:
    """A refresh redirects nobody, but the SDK requires an address."""
    uris = (found.client or {}).get("redirect_uris") or ["http://127.0.0.1/oauth/callback"]
    return str(uris[0])


def refused_message(url: str) -> httpx2.Request:
    """A request to the MCP server that would be refused: the SDK's flow starts from it. It is rarely sent."""
    headers = {"mcp-protocol-version": LATEST_PROTOCOL_VERSION, "accept": "application/json, text/event-stream"}
    return httpx2.Request("POST", url, headers=headers, json={"jsonrpc": "2.0", "id": 0, "method": "ping"})


def _error_of(response: httpx2.Response) -> str:
    try:
        document: Any = orjson.loads(response.content)
    except ValueError:
        return ""
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) else ""
