"""Signing in to MCP servers over HTTP: what the page's button and `openai-proxy mcp login` ask for, and the callback.

POST   /admin/mcp/NAME/login          begin; {"base": "https://…/"}: where the browser has this house, if it may
GET    /admin/mcp/NAME/login          how it goes: none, waiting, done, failed (?wait=SECONDS: until it has ended)
DELETE /admin/mcp/NAME/login          give it up
POST   /admin/mcp/NAME/login/finish   {"address": "…"}: the address the browser was sent to and could not open
POST   /admin/mcp/NAME/logout         forget the tokens
GET    /oauth/callback                where the browser comes back: needs no key, its `state` is one
"""

import html
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

import orjson
from aiohttp.web_request import BaseRequest

from openai_proxy.errors import BadRequest, NotFound, ProxyError
from openai_proxy.runtime.state import State
from openai_proxy.server.reply import Reply
from openai_proxy.server.request_body import RequestBody

if TYPE_CHECKING:  # imported when the first MCP server is configured
    from openai_proxy.tools.mcp.supervisor import Supervisor

PREFIX: Final = "/admin/mcp/"
CALLBACK: Final = "/oauth/callback"

_BODY: Final = 64 * 1024
_BODY_SECONDS: Final = 15.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_WAIT: Final = 30.0
_HTML: Final = "text/html; charset=utf-8"


async def sign_in(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    """`/admin/mcp/NAME/login`."""
    name = _name(path, "/login")
    supervisor = _supervisor(state, name)
    if request.method == "POST":
        answer = await supervisor.sign_in(name, _redirect_uri(state, await _document(request, reply)))
    elif request.method == "DELETE":
        await supervisor.sign_ins.cancel(name)
        answer = supervisor.sign_ins.status(name)
    else:
        answer = await supervisor.sign_ins.ended(name, _seconds(query))
    await reply.send(200, orjson.dumps(answer))


async def finish(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    """`POST /admin/mcp/NAME/login/finish`."""
    name = _name(path, "/login/finish")
    address = (await _document(request, reply)).get("address")
    if not isinstance(address, str):
        raise BadRequest("The address the browser was sent to is expected as `address`.", param="address")
    supervisor = _supervisor(state, name)
    await supervisor.sign_ins.pasted(address)
    await reply.send(200, orjson.dumps(supervisor.sign_ins.status(name)))


async def sign_out(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    """`POST /admin/mcp/NAME/logout`."""
    name = _name(path, "/logout")
    signed_out = await _supervisor(state, name).sign_out(name)
    await reply.send(200, orjson.dumps({"server": name, "signed_out": signed_out}))


async def callback(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    """`GET /oauth/callback`: a page for the person whose browser was sent here."""
    status, title, text = 200, "Signed in", "You can close this window."
    try:
        if not state.has_supervisor:
            raise NotFound("This sign-in is not known, or it is over. Begin it again.", code="unknown_sign_in")
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        name, failure = await state.supervisor.sign_ins.callback(parameters)
        if failure:
            status, title, text = 502, f"Not signed in to {name}", f"{failure[:1].upper()}{failure[1:]}."
        else:
            title = f"Signed in to {name}"
    except ProxyError as error:
        status, title, text = error.status, "Not signed in", error.message
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></html>"
    )
    await reply.send(
        status, page.encode(), _HTML,
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
        ("Referrer-Policy", "no-referrer"),  # the address holds a code
        ("X-Content-Type-Options", "nosniff"),
    )  # fmt: skip


def _name(path: str, action: str) -> str:
    return path[len(PREFIX) : -len(action)]


def _supervisor(state: State, name: str) -> "Supervisor":
    if not state.has_supervisor:
        raise NotFound(f"The MCP server '{name[:64]}' is not configured.", code="mcp_server_not_found")
    return state.supervisor


async def _document(request: BaseRequest, reply: Reply) -> dict[str, Any]:
    body = await RequestBody(request, reply, _BODY, _BODY_SECONDS).whole()
    try:
        document = orjson.loads(body or b"{}")
    except ValueError:
        raise BadRequest("The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.")
    return document


def _redirect_uri(state: State, document: dict[str, Any]) -> str:
    """Where the browser is to come back: to this machine's own port, or to where the page was opened.

    Authorization servers take plain http for loopback addresses only (OAuth 2.1 section 2.3.1), so a page opened by
    the house's address without TLS gets the loopback one, and its person pastes the address.
    """
    base = document.get("base")
    if isinstance(base, str):
        try:
            parts = urlsplit(base)
            if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
                return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}{CALLBACK}"
        except ValueError:
            raise BadRequest("`base` is not a URL.", param="base") from None
    return f"http://127.0.0.1:{state.own_port() or state.generation.config.port}{CALLBACK}"


def _seconds(query: str) -> float:
    try:
        return min(float(parse_qs(query).get("wait", ["0"])[0]), _LONGEST_WAIT)
    except ValueError:
        return 0.0
