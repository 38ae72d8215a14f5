"""Signing in: one-time addresses, admin keys, and the sessions they open (contract §13)."""

from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

from openai_proxy.admin.access import session_of
from openai_proxy.admin.assets import is_built
from openai_proxy.admin.call import AdminAnswer, AdminCall, text_of
from openai_proxy.admin.status import iso
from openai_proxy.auth.page_sessions import LIFETIME, LOGIN, PageSession
from openai_proxy.errors import NotFound, Unauthorized

_FORM = "application/x-www-form-urlencoded"


async def one_time(call: AdminCall) -> AdminAnswer:
    """`GET /admin/login?code=…`: the address that `openai-proxy ui` prints. Opens a session, redirects to the page."""
    headers = call.request.headers
    fetched_ahead = "prefetch" in headers.get("Sec-Purpose", "") + headers.get("Purpose", "")
    if call.request.method != "GET" or fetched_ahead:  # a link preview must not use it up
        return AdminAnswer(b"", status=204)
    sessions = call.state.page_sessions
    if sessions.redeem(call.argument("code")):
        return _see_page(_cookie(call, *sessions.open(*_about(call))))
    if session_of(call) is not None:  # someone who is signed in opens an old address again
        return _see_page()
    return _see_page(query="?login=used")


async def show(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/session`: whether the caller is signed in, and if not, how they can sign in."""
    if call.session is None:
        return {"signed_in": False, "admin_keys": call.state.generation.gate.keys.has_admins}
    return {"signed_in": True, "session": _shown(call.session, own=True)}


async def open_session(call: AdminCall) -> AdminAnswer:
    """`POST /admin/session` with `key` or `code`, as JSON or as a form: sign in."""
    state, gate = call.state, call.state.generation.gate
    gate.check_own_page(call.request.headers)  # another site must not sign a browser in
    form = call.request.headers.get("Content-Type", "").startswith(_FORM)
    if form:
        members = parse_qs((await call.body()).decode("utf-8", "replace"))
        document: dict[str, Any] = {name: values[0] for name, values in members.items()}
    else:
        document = await call.document()
    key = text_of(document, "key", "").strip()
    code = text_of(document, "code", "").strip()
    if key and gate.keys.is_admin(key):
        opened = state.page_sessions.open(*_about(call), sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
    elif state.page_sessions.redeem(code or key):
        opened = state.page_sessions.open(*_about(call))
    elif form:
        return _see_page(query="?login=wrong")
    else:
        raise Unauthorized("This is not an admin key, and not a code that is still valid.", code="wrong_admin_key")
    cookie = _cookie(call, *opened)
    if form:
        return _see_page(cookie)
    return AdminAnswer({"signed_in": True, "session": _shown(opened[1], own=True)}, fields=(cookie,))


async def close_own(call: AdminCall) -> AdminAnswer:
    """`DELETE /admin/session`: sign out."""
    call.state.generation.gate.check_own_page(call.request.headers)
    if call.session is not None:
        call.state.page_sessions.close(call.session.id)
    gone = f"{call.state.page_sessions.cookie}=; Max-Age=0; HttpOnly; SameSite=Strict"
    return AdminAnswer({"signed_in": False}, fields=(("Set-Cookie", gone),))


async def list_sessions(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/sessions`: all browsers that are signed in."""
    own = call.session.id if call.session is not None else None
    return {"sessions": [_shown(session, own=session.id == own) for session in call.state.page_sessions.all()]}


async def revoke(call: AdminCall) -> dict[str, Any]:
    """`DELETE /admin/sessions/ID`: sign a browser out."""
    if not call.state.page_sessions.close(call.names[0]):
        raise NotFound("There is no such session.", code="session_not_found")
    return {"revoked": call.names[0]}


async def new_address(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/ui`: a new one-time address: its path, and the base addresses of this daemon, the best first."""
    code, until = call.state.page_sessions.new_code()
    path = LOGIN + code
    return {"path": path, "urls": [url + path for url in call.state.addresses()], "expires_at": iso(until)}


def _about(call: AdminCall) -> tuple[str, str]:
    headers = call.request.headers
    gate = call.state.generation.gate
    return gate.remote(call.request.remote or "", headers), headers.get("User-Agent", "")


def _cookie(call: AdminCall, token: str, session: PageSession) -> tuple[str, str]:
    """The Set-Cookie field. Without a Path it applies to /admin, below whatever prefix the browser sees.

    https://www.rfc-editor.org/rfc/rfc6265#section-5.1.4
    """
    secure = "; Secure" if "https" in call.request.headers.get("X-Forwarded-Proto", "").lower() else ""
    value = f"{call.state.page_sessions.cookie}={token}; Max-Age={int(LIFETIME)}; HttpOnly; SameSite=Strict{secure}"
    return "Set-Cookie", value


def _see_page(*fields: tuple[str, str], query: str = "") -> AdminAnswer:
    """A redirect to the page, relative so that it stays below the prefix that the browser sees."""
    where = f"../{query}" if is_built() else f"../admin{query}"
    return AdminAnswer(b"", 303, "text/plain", (("Location", where), ("Referrer-Policy", "no-referrer"), *fields))


def _shown(session: PageSession, *, own: bool) -> dict[str, Any]:
    return {
        "id": session.id,
        "created_at": iso(session.created_at),
        "expires_at": iso(session.created_at + LIFETIME),
        "last_used": iso(session.last_used),
        "remote": session.remote,
        "browser": session.browser,
        "by": "address" if session.key is None else "key",
        "own": own,
    }
