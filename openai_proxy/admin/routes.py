"""What is served besides the API: the page, /admin/*, health and metrics. One table, one entry: `serve`.

Handlers are named, not imported: a daemon whose page nobody opens loads none of them.
"""

import importlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp.web_request import BaseRequest

from openai_proxy.admin.access import Who, admit
from openai_proxy.admin.call import AdminCall, Answer
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.exchange import Caller
from openai_proxy.runtime.state import State
from openai_proxy.server.reply import Reply

HEALTH: Final = frozenset({"/health", "/v1/health"})
CALLBACK: Final = "/oauth/callback"
API: Final = "/admin/v1"
"""Below it the whole API is served to admins, without a client key: for the page's playground."""

_ELSEWHERE: Final = HEALTH | {"/", "/metrics", CALLBACK}

Handler = Callable[[AdminCall], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` may leave open one part, `{}`, and at its end all the rest, `{...}`. `handler` is module:function."""

    method: str
    path: str
    handler: str
    who: Who = Who.ADMIN


ROUTES: Final = (
    Route("GET", "/", "assets:shell", Who.ANYBODY),
    Route("GET", "/admin", "assets:plain", Who.ANYBODY),
    Route("GET", "/admin/assets/{...}", "assets:asset", Who.ANYBODY),
    Route("GET", "/health", "status:health", Who.HEALTH),
    Route("GET", "/v1/health", "status:health", Who.HEALTH),
    Route("GET", "/metrics", "observe:metrics", Who.AT_HOME),
    Route("GET", "/admin/status", "status:show", Who.AT_HOME),
    Route("POST", "/admin/reload", "status:reload_now", Who.AT_HOME),
    Route("GET", "/admin/events", "events:serve"),
    Route("GET", "/admin/usage", "observe:usage"),
    # Signing in
    Route("GET", "/admin/login", "login:one_time", Who.ANYBODY),
    Route("GET", "/admin/session", "login:show", Who.ANYBODY),
    Route("POST", "/admin/session", "login:open_session", Who.ANYBODY),
    Route("DELETE", "/admin/session", "login:close_own", Who.ANYBODY),
    Route("GET", "/admin/sessions", "login:list_sessions"),
    Route("DELETE", "/admin/sessions/{}", "login:revoke"),
    Route("POST", "/admin/ui", "login:new_address"),
    # Requests
    Route("GET", "/admin/requests", "requests:list_requests"),
    Route("GET", "/admin/requests/{}", "requests:show"),
    Route("POST", "/admin/requests/{}/cancel", "requests:cancel"),
    Route("GET", "/admin/conversations/{}", "requests:conversation"),
    # Models
    Route("GET", "/admin/models", "models:list_models"),
    Route("GET", "/admin/explain", "models:explain"),
    Route("GET", "/admin/connect", "models:list_clients"),
    Route("GET", "/admin/connect/{}", "models:connect"),
    Route("DELETE", "/admin/lessons/{}", "lessons:forget"),
    # Configuration
    Route("GET", "/admin/config", "configuration:list_files"),
    Route("POST", "/admin/config/check", "configuration:check"),
    Route("POST", "/admin/config/undo", "configuration:undo"),
    Route("GET", "/admin/config/schemas/{}", "configuration:schema"),
    Route("GET", "/admin/config/files/{...}", "configuration:show"),
    Route("PUT", "/admin/config/files/{...}", "configuration:save"),
    Route("DELETE", "/admin/config/files/{...}", "configuration:delete"),
    # Keys
    Route("GET", "/admin/groups", "keys:list_groups"),
    Route("POST", "/admin/keys", "keys:make"),
    Route("DELETE", "/admin/keys/{}", "keys:revoke"),
    # Tools and MCP servers
    Route("GET", "/admin/tools", "tools:list_tools"),
    Route("POST", "/admin/tools/{}/call", "tools:try_one"),
    Route("POST", "/admin/mcp/{}/restart", "mcp:restart"),
    Route("POST", "/admin/mcp/{}/login", "mcp_sign_in:begin"),
    Route("GET", "/admin/mcp/{}/login", "mcp_sign_in:show"),
    Route("DELETE", "/admin/mcp/{}/login", "mcp_sign_in:give_up"),
    Route("POST", "/admin/mcp/{}/login/finish", "mcp_sign_in:finish"),
    Route("POST", "/admin/mcp/{}/logout", "mcp_sign_in:sign_out"),
    Route("GET", CALLBACK, "mcp_sign_in:callback", Who.CALLBACK),
)


class _Table:
    """ROUTES, compiled."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._open: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        patterns: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = self._fixed if "{" not in route.path else patterns
            methods.setdefault(route.path, {})[route.method] = route
        for path, by_method in patterns.items():
            expression = re.escape(path).replace(r"\{\.\.\.\}", "(.+)").replace(r"\{\}", "([^/]+)")
            self._open.append((re.compile(expression), by_method))

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """The route and the open parts of `path`. Raises NotFound, or BadRequest for a method it does not have."""
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


def owns(path: str) -> bool:
    """True for a raw path that is served here and not by the API."""
    return path in _ELSEWHERE or path == "/admin" or path.startswith("/admin/")


async def serve(
    state: State, request: BaseRequest, reply: Reply, path: str, query: str, *, local: bool
) -> tuple[Caller, str] | None:
    """Answer a request whose path is ours, or raise ProxyError.

    What is not answered here is a request to the API: then its caller, and the path it would have from outside.
    """
    call = AdminCall(state, request, reply, path.rstrip("/") or "/", query, local)
    if call.path.startswith(f"{API}/"):
        await admit(call, Who.ADMIN)
        assert call.caller is not None
        return call.caller, call.path.removeprefix("/admin")
    route, call.names = _TABLE.find(request.method, call.path)
    await admit(call, route.who)
    result = await handler_of(route)(call)
    if result is not None:
        await _send(reply, result if isinstance(result, Answer) else Answer(result))
    return None


def handler_of(route: Route) -> Handler:
    """The function a route names."""
    module, _, name = route.handler.partition(":")
    found: Handler = getattr(importlib.import_module(f"openai_proxy.admin.{module}"), name)
    return found


async def _send(reply: Reply, answer: Answer) -> None:
    fields = (("X-Content-Type-Options", "nosniff"), *answer.fields)
    if isinstance(answer.body, bytes):
        await reply.send_as_is(answer.status, answer.body, answer.content_type, *fields)
    else:
        await reply.send(answer.status, orjson.dumps(answer.body, default=str), answer.content_type, *fields)
