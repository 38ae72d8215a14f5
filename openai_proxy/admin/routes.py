"""Everything served besides the API: the page, /admin/*, health and metrics. One table, one entry point: `serve`.

Handlers are named, not imported, so a daemon whose page nobody opens loads none of them.
"""

import importlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp.web_request import BaseRequest

from openai_proxy.admin.access import Audience, admit
from openai_proxy.admin.call import AdminAnswer, AdminCall
from openai_proxy.admin.paths import API, CALLBACK
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.exchange import Caller
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.reply import Reply

Handler = Callable[[AdminCall], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """`path` may have a placeholder for one segment, `{}`, and for the rest, `{...}`. `handler` is module:function."""

    method: str
    path: str
    handler: str
    who: Audience = Audience.ADMIN


ROUTES: Final = (
    AdminRoute("GET", "/", "assets:shell", Audience.ANYBODY),
    AdminRoute("GET", "/admin", "assets:plain", Audience.ANYBODY),
    AdminRoute("GET", "/admin/assets/{...}", "assets:asset", Audience.ANYBODY),
    AdminRoute("GET", "/health", "status:health", Audience.HEALTH),
    AdminRoute("GET", "/v1/health", "status:health", Audience.HEALTH),
    AdminRoute("GET", "/metrics", "observe:metrics", Audience.AT_HOME),
    AdminRoute("GET", "/admin/status", "status:show", Audience.AT_HOME),
    AdminRoute("POST", "/admin/reload", "status:reload_now", Audience.AT_HOME),
    AdminRoute("GET", "/admin/events", "events:serve"),
    AdminRoute("GET", "/admin/usage", "observe:usage"),
    AdminRoute("GET", "/admin/latency", "observe:latency"),
    # Signing in
    AdminRoute("GET", "/admin/login", "login:one_time", Audience.ANYBODY),
    AdminRoute("GET", "/admin/session", "login:show", Audience.ANYBODY),
    AdminRoute("POST", "/admin/session", "login:open_session", Audience.ANYBODY),
    AdminRoute("DELETE", "/admin/session", "login:close_own", Audience.ANYBODY),
    AdminRoute("GET", "/admin/sessions", "login:list_sessions"),
    AdminRoute("DELETE", "/admin/sessions/{}", "login:revoke"),
    AdminRoute("POST", "/admin/ui", "login:new_address"),
    # Requests
    AdminRoute("GET", "/admin/requests", "request_routes:list_requests"),
    AdminRoute("GET", "/admin/requests/{}", "request_routes:show"),
    AdminRoute("POST", "/admin/requests/{}/cancel", "request_routes:cancel"),
    AdminRoute("GET", "/admin/conversations/{}", "request_routes:conversation"),
    # Models
    AdminRoute("GET", "/admin/models", "models:list_models"),
    AdminRoute("GET", "/admin/explain", "models:explain"),
    AdminRoute("GET", "/admin/connect", "models:list_clients"),
    AdminRoute("GET", "/admin/connect/{}", "models:connect"),
    AdminRoute("POST", "/admin/warm", "models:warm"),
    AdminRoute("DELETE", "/admin/lessons/{}", "models:forget"),
    # Configuration
    AdminRoute("GET", "/admin/config", "configuration:list_files"),
    AdminRoute("POST", "/admin/config/check", "configuration:check"),
    AdminRoute("POST", "/admin/config/undo", "configuration:undo"),
    AdminRoute("GET", "/admin/config/schemas/{}", "configuration:schema"),
    AdminRoute("GET", "/admin/config/files/{...}", "configuration:show"),
    AdminRoute("PUT", "/admin/config/files/{...}", "configuration:save"),
    AdminRoute("DELETE", "/admin/config/files/{...}", "configuration:delete"),
    # Keys
    AdminRoute("GET", "/admin/groups", "keys:list_groups"),
    AdminRoute("POST", "/admin/keys", "keys:make"),
    AdminRoute("DELETE", "/admin/keys/{}", "keys:revoke"),
    # Tools and MCP servers
    AdminRoute("GET", "/admin/tools", "tools:list_tools"),
    AdminRoute("POST", "/admin/tools/{}/call", "tools:try_one"),
    AdminRoute("POST", "/admin/mcp/{}/restart", "mcp:restart"),
    AdminRoute("POST", "/admin/mcp/{}/login", "mcp:begin"),
    AdminRoute("GET", "/admin/mcp/{}/login", "mcp:show"),
    AdminRoute("DELETE", "/admin/mcp/{}/login", "mcp:give_up"),
    AdminRoute("POST", "/admin/mcp/{}/login/finish", "mcp:finish"),
    AdminRoute("POST", "/admin/mcp/{}/logout", "mcp:sign_out"),
    AdminRoute("GET", CALLBACK, "mcp:callback", Audience.CALLBACK),
)


class _Table:
    """ROUTES, compiled."""

    def __init__(self, routes: tuple[AdminRoute, ...]) -> None:
        self._fixed: dict[str, dict[str, AdminRoute]] = {}
        self._open: list[tuple[re.Pattern[str], dict[str, AdminRoute]]] = []
        patterns: dict[str, dict[str, AdminRoute]] = {}
        for route in routes:
            methods = self._fixed if "{" not in route.path else patterns
            methods.setdefault(route.path, {})[route.method] = route
        for path, by_method in patterns.items():
            expression = re.escape(path).replace(r"\{\.\.\.\}", "(.+)").replace(r"\{\}", "([^/]+)")
            self._open.append((re.compile(expression), by_method))

    def find(self, method: str, path: str) -> tuple[AdminRoute, tuple[str, ...]]:
        """The route and its placeholders' values. Raises NotFound, or BadRequest for a method it does not have."""
        names: tuple[str, ...] = ()
        methods = self._fixed.get(path)
        if methods is None:
            found = ((match, routes) for pattern, routes in self._open if (match := pattern.fullmatch(path)))
            match, methods = next(found, (None, {}))
            if match is None:
                raise NotFound("There is nothing at this path.")
            names = tuple(unquote(part) for part in match.groups())
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise BadRequest(
                "This method is not served here.", status=405, code="method_not_allowed",
                headers={"Allow": ", ".join(("HEAD", *methods) if "GET" in methods else methods)},
            )  # fmt: skip
        return route, names


_TABLE: Final = _Table(ROUTES)


async def serve(
    state: ProxyState, request: BaseRequest, reply: Reply, path: str, query: str, *, local: bool
) -> tuple[Caller, str] | None:
    """Answer a request whose path is served here, or raise ProxyError.

    For a request to the API below the playground's prefix, returns its caller and its API path instead.
    """
    call = AdminCall(state, request, reply, path.rstrip("/") or "/", query, local)
    if call.path.startswith(f"{API}/"):
        await admit(call, Audience.ADMIN)
        assert call.caller is not None
        return call.caller, call.path.removeprefix("/admin")
    route, call.names = _TABLE.find(request.method, call.path)
    await admit(call, route.who)
    result = await handler_of(route)(call)
    if result is not None:
        await _send(reply, result if isinstance(result, AdminAnswer) else AdminAnswer(result))
    return None


def handler_of(route: AdminRoute) -> Handler:
    """The function that a route names."""
    module, _, name = route.handler.partition(":")
    found: Handler = getattr(importlib.import_module(f"openai_proxy.admin.{module}"), name)
    return found


async def _send(reply: Reply, answer: AdminAnswer) -> None:
    fields = (("X-Content-Type-Options", "nosniff"), *answer.fields)
    if isinstance(answer.body, bytes):
        await reply.send_as_is(answer.status, answer.body, answer.content_type, *fields)
    else:
        await reply.send(answer.status, orjson.dumps(answer.body, default=str), answer.content_type, *fields)
