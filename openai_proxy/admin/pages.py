"""The proxy's own pages: health, status, reload, cancel, metrics."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp.web_request import BaseRequest

from openai_proxy.admin import mcp_sign_in, observe
from openai_proxy.admin.status import iso, problem_object, status_of
from openai_proxy.admin.status_page import PAGE
from openai_proxy.errors import BadRequest, NotFound, Overloaded
from openai_proxy.runtime.reload import reload
from openai_proxy.runtime.state import State
from openai_proxy.server.reply import Reply
from openai_proxy.version import __version__

HEALTH = frozenset({"/health", "/v1/health"})
_MCP, _RESTART = "/admin/mcp/", "/restart"
Serve = Callable[[State, BaseRequest, Reply, str, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `guarded` pages are for admins."""

    methods: tuple[str, ...]
    serve_page: Serve
    guarded: bool = True

    async def serve(self, state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
        """Answer, or raise ProxyError."""
        if request.method not in self.methods:
            raise BadRequest(
                "This method is not served here.", status=405, code="method_not_allowed",
                headers={"Allow": ", ".join(self.methods)},
            )  # fmt: skip
        await self.serve_page(state, request, reply, path, query)


def page_for(path: str) -> Page | None:
    """The page at a raw path, or None for a path that is not ours."""
    page = _PAGES.get(path)
    if page is None and path.startswith("/admin"):
        if path.startswith("/admin/requests/") and path.endswith("/cancel"):
            return _CANCEL
        if path.startswith(_MCP):
            action = path[len(_MCP) :].partition("/")[2]
            return _MCP_PAGES.get(action, _NOTHING)
        return _NOTHING
    return page


async def _health(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    generation = state.generation
    problems: Any = len(generation.problems)
    if generation.gate.is_admin(request.remote or "", request.headers):
        problems = [problem_object(p) for p in generation.problems]
    body = {
        "status": "draining" if state.draining else "ok",
        "version": __version__,
        "config": {"generation": generation.number, "loaded_at": iso(generation.loaded_at), "problems": problems},
        "degraded": state.degraded(),
    }
    await reply.send(503 if state.draining else 200, orjson.dumps(body))


async def _status(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    await reply.send(200, orjson.dumps(status_of(state)))


async def _reload(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    result = await reload(state)
    await reply.send(422 if result.get("problems") else 200, orjson.dumps(result))


async def _events(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    from openai_proxy.admin import events

    await events.serve(state, request, reply, path, query)


async def _cancel(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    running = state.running.get(path[len("/admin/requests/") : -len("/cancel")])
    if running is None:
        raise NotFound("No such request is running.", code="request_not_found")
    running.cut(Overloaded("The request was cancelled.", code="cancelled"))
    await reply.send(200, orjson.dumps({"cancelled": running.exchange.id}))


async def _restart_mcp(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    name = path[len(_MCP) : -len(_RESTART)]
    if not state.has_supervisor:
        raise NotFound(f"The MCP server '{name[:64]}' is not configured.", code="mcp_server_not_found")
    state.supervisor.restart(name)
    await reply.send(200, orjson.dumps({"restarted": name}))


async def _page(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    await reply.send(
        200, PAGE, "text/html; charset=utf-8",
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
         "connect-src 'self'; frame-ancestors 'none'"),
        ("X-Content-Type-Options", "nosniff"),
    )  # fmt: skip


async def _nothing(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    raise NotFound("There is nothing at this path.")


_NOTHING = Page(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), _nothing)
_MCP_PAGES = {
    "restart": Page(("POST",), _restart_mcp),
    "login": Page(("GET", "HEAD", "POST", "DELETE"), mcp_sign_in.sign_in),
    "login/finish": Page(("POST",), mcp_sign_in.finish),
    "logout": Page(("POST",), mcp_sign_in.sign_out),
}
_CANCEL = Page(("POST",), _cancel)
_PAGES: dict[str, Page] = {
    "/": Page(("GET", "HEAD"), _page),
    "/health": Page(("GET", "HEAD"), _health, guarded=False),
    "/v1/health": Page(("GET", "HEAD"), _health, guarded=False),
    "/admin/status": Page(("GET", "HEAD"), _status),
    "/admin/reload": Page(("POST",), _reload),
    "/admin/usage": Page(("GET", "HEAD"), observe.usage),
    mcp_sign_in.CALLBACK: Page(("GET",), mcp_sign_in.callback, guarded=False),
    "/metrics": Page(("GET", "HEAD"), observe.metrics),
    "/admin/events": Page(("GET",), _events),
}
