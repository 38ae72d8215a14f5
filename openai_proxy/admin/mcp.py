"""MCP servers: restarting them, and signing in, for the page's button and `openai-proxy mcp login`, with the callback.

POST   /admin/mcp/NAME/login          begin; {"base": "https://…/"}: the address the browser uses, for the callback
GET    /admin/mcp/NAME/login          its state: none, waiting, done, failed (?wait=SECONDS: until it has ended)
DELETE /admin/mcp/NAME/login          cancel it
POST   /admin/mcp/NAME/login/finish   {"address": "…"}: the callback address, if the browser could not open it
POST   /admin/mcp/NAME/logout         forget the tokens
GET    /oauth/callback                where the browser returns: needs no key, its `state` is one
"""

import html
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from openai_proxy.admin.call import AdminAnswer, AdminCall, text_of
from openai_proxy.admin.paths import CALLBACK
from openai_proxy.errors import BadRequest, NotFound, ProxyError
from openai_proxy.runtime.state import ProxyState
from openai_proxy.tools.mcp.supervisor import Supervisor

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_WAIT: Final = 30.0
_HTML: Final = "text/html; charset=utf-8"


async def begin(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/mcp/NAME/login`."""
    (name,) = call.names
    return await supervisor_of(call, name).sign_in(name, _redirect_uri(call.state, await call.document()))


async def show(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/mcp/NAME/login`."""
    (name,) = call.names
    return await supervisor_of(call, name).sign_ins.ended(name, _seconds(call.argument("wait", "0")))


async def give_up(call: AdminCall) -> dict[str, Any]:
    """`DELETE /admin/mcp/NAME/login`."""
    (name,) = call.names
    sign_ins = supervisor_of(call, name).sign_ins
    await sign_ins.cancel(name)
    return sign_ins.status(name)


async def finish(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/mcp/NAME/login/finish`."""
    (name,) = call.names
    sign_ins = supervisor_of(call, name).sign_ins
    await sign_ins.pasted(text_of(await call.document(), "address"))
    return sign_ins.status(name)


async def sign_out(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/mcp/NAME/logout`."""
    (name,) = call.names
    return {"server": name, "signed_out": await supervisor_of(call, name).sign_out(name)}


async def callback(call: AdminCall) -> AdminAnswer:
    """`GET /oauth/callback`: a page for the person whose browser was redirected here."""
    status, title, text = 200, "Signed in", "You can close this window."
    try:
        if not call.state.has_supervisor:
            raise NotFound("This sign-in is unknown or has expired. Please start again.", code="unknown_sign_in")
        parameters = dict(parse_qsl(call.query, keep_blank_values=True))
        name, failure = await call.state.supervisor.sign_ins.callback(parameters)
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
    fields = (
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
        ("Referrer-Policy", "no-referrer"),  # the address contains a code
    )
    return AdminAnswer(page.encode(), status, _HTML, fields)


def _redirect_uri(state: ProxyState, document: dict[str, Any]) -> str:
    """Where the browser returns to: this machine's own port, or the address from which the page was opened.

    Authorization servers accept plain http for loopback addresses only (OAuth 2.1 section 2.3.1), so a page opened on
    a LAN address without TLS gets the loopback one, and the person pastes the resulting address.
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


def _seconds(text: str) -> float:
    try:
        return min(float(text), _LONGEST_WAIT)
    except ValueError:
        return 0.0


async def restart(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/mcp/NAME/restart`: replace the connection, and accept the tools that the server then offers."""
    (name,) = call.names
    supervisor_of(call, name).restart(name)
    return {"restarted": name}


def supervisor_of(call: AdminCall, name: str) -> Supervisor:
    """The supervisor of the MCP server `name`. Raises NotFound if it is not configured."""
    if not call.state.has_supervisor:
        raise NotFound(f"The MCP server '{name[:64]}' is not configured.", code="mcp_server_not_found")
    return call.state.supervisor
