"""An MCP server that requires OAuth, with its authorization server: both from the SDK, on loopback, in a thread.

Every visit of `/authorize` is approved at once, as by a person who agrees. Attributes set how it treats tokens, and
others count its requests.
"""

import asyncio
import http.client
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    RefreshToken,
    TokenError,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl, AnyUrl


class Provider:
    """The authorization server's state. `lifetime` is in seconds; with `refresh_tokens` False it issues none."""

    def __init__(self) -> None:
        self.lifetime = 3600
        self.refresh_tokens = True
        self.refuse_refresh: str | None = None
        self.break_refresh = False
        self.scopes = ["basic"]
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.refreshes = 0
        self.revoked = 0
        self.asked: list[AuthorizationParams] = []

    def revoke_everything(self) -> None:
        """Revoke the grant: no token is valid any more."""
        self.access.clear()
        self.refresh.clear()

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        self.asked.append(params)
        code = secrets.token_urlsafe(24)
        self.codes[code] = AuthorizationCode(
            code=code, scopes=params.scopes or self.scopes, expires_at=time.time() + 60, client_id=client.client_id,
            code_challenge=params.code_challenge, redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly, resource=params.resource,
        )  # fmt: skip
        return f"{params.redirect_uri}?{urlencode({'code': code, 'state': params.state})}"

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._tokens(client.client_id, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        self.refreshes += 1
        if self.break_refresh:
            raise RuntimeError("the authorization server is broken")
        if self.refuse_refresh is not None:
            raise TokenError(self.refuse_refresh)  # type: ignore[arg-type]  # any error that a test sets
        del self.refresh[refresh_token.token]  # rotated: a second use is refused
        return self._tokens(client.client_id, scopes, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.revoked += 1
        self.revoke_everything()

    async def exchange_identity_assertion(self, client: Any, params: Any) -> OAuthToken:
        raise TokenError("unsupported_grant_type")

    def _tokens(self, client: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = f"access-{secrets.token_urlsafe(16)}", f"refresh-{secrets.token_urlsafe(16)}"
        ends = int(time.time()) + self.lifetime
        self.access[access] = AccessToken(
            token=access, client_id=client, scopes=scopes, expires_at=ends, resource=resource
        )
        if self.refresh_tokens:
            self.refresh[refresh] = RefreshToken(token=refresh, client_id=client, scopes=scopes, resource=resource)
        return OAuthToken(
            access_token=access, token_type="Bearer", expires_in=self.lifetime, scope=" ".join(scopes),
            refresh_token=refresh if self.refresh_tokens else None,
        )  # fmt: skip


class OAuthServer:
    """Both servers, listening. `required` are the scopes every request needs; tool `admin` needs one more."""

    def __init__(self) -> None:
        self.provider = Provider()
        self.required = ["basic"]
        self.requests: list[str] = []
        self.refused = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return f"{self.origin}/mcp"

    def start(self) -> None:
        """Serve in a thread until `stop`."""
        server = MCPServer("guarded", auth_server_provider=self.provider, auth=self._settings(), log_level="CRITICAL")

        @server.tool()
        def whoami() -> str:
            """The scopes of the request's token."""
            token = get_access_token()
            return " ".join(token.scopes) if token is not None else "nobody"

        app = self._guard(server.streamable_http_app())
        config = uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, args=(self._server,))
        self._thread.start()

    def _serve(self, server: uvicorn.Server) -> None:
        asyncio.run(server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """End it and wait for the thread."""
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def _settings(self) -> AuthSettings:
        return AuthSettings(
            issuer_url=AnyHttpUrl(self.origin),
            client_registration_options=ClientRegistrationOptions(enabled=True),
            revocation_options=RevocationOptions(enabled=True),
            required_scopes=["basic"],
            resource_server_url=AnyHttpUrl(self.url),
            validate_token_resource=True,
        )

    def _guard(self, app: Any) -> Any:
        """Count requests, and require more scopes if `required` grew."""

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            self.requests.append(f"{scope['method']} {scope['path']}")
            token = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
            known = self.provider.access.get(token)
            if scope["path"] == "/mcp" and known is not None and not set(self.required) <= set(known.scopes):
                self.refused += 1
                challenge = (
                    f'Bearer error="insufficient_scope", scope="{" ".join(self.required)}", '
                    f'resource_metadata="{self.origin}/.well-known/oauth-protected-resource/mcp"'
                )
                headers = [(b"www-authenticate", challenge.encode()), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 403, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
            await app(scope, receive, send)

        return guarded


@contextmanager
def oauth_server() -> Iterator[OAuthServer]:
    """A listening server."""
    server = OAuthServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def agree(authorization_url: str) -> str:
    """Do what a browser does with the printed address; returns the redirect address, not yet opened."""
    parts = urlsplit(authorization_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    assert answer.status == 302, text
    return str(answer.headers["location"])


def parameters(address: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def redirect_uri(server: OAuthServer) -> AnyUrl:
    """The redirect address of the last person who agreed."""
    return server.provider.asked[-1].redirect_uri
