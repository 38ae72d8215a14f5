"""A resource server and its authorization server that lie on demand: every document and answer can be replaced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class LyingServer:
    """`lies` maps a path to false members of its document, or to a whole response."""

    def __init__(self) -> None:
        self.lies: dict[str, Any] = {}
        self.seen: list[str] = []
        self.origin = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.origin = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr,attr-defined]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return f"{self.origin}/mcp"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        lie = self.lies.get(request.path)
        if lie == "silence":
            await asyncio.sleep(3600)
        if lie == "endless":
            return await self._endless(request)
        if isinstance(lie, dict) and "status" in lie:
            return web.Response(**lie)
        document = self._documents().get(request.path)
        if document is None:
            return web.Response(status=404)
        if request.path == "/mcp":
            challenge = f'Bearer resource_metadata="{self.origin}/.well-known/oauth-protected-resource/mcp"'
            return web.Response(status=401, headers={"WWW-Authenticate": lie or challenge})
        return web.json_response({**document, **(lie or {})}, status=201 if request.path == "/register" else 200)

    def _documents(self) -> dict[str, dict[str, Any]]:
        origin = self.origin
        return {
            "/mcp": {},
            "/.well-known/oauth-protected-resource/mcp": {"resource": self.url, "authorization_servers": [origin]},
            "/.well-known/oauth-authorization-server": {
                "issuer": origin,
                "authorization_endpoint": f"{origin}/authorize",
                "token_endpoint": f"{origin}/token",
                "registration_endpoint": f"{origin}/register",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            },
            "/register": {"client_id": "c", "redirect_uris": ["http://127.0.0.1:1/oauth/callback"],
                          "token_endpoint_auth_method": "none"},
            "/token": {"access_token": "access-of-a-liar", "token_type": "Bearer", "expires_in": 3600},
        }  # fmt: skip

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        for _ in range(64):
            await response.write(b" " * 65536)
        return response


@asynccontextmanager
async def lying_server() -> AsyncIterator[LyingServer]:
    """A listening server."""
    server = LyingServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
