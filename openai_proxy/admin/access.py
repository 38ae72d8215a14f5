"""Who may use these routes (contract §3): an admin key, a session of the page, or the control socket."""

from enum import Enum, auto

from openai_proxy.admin.call import AdminCall
from openai_proxy.auth.page_sessions import PageSession
from openai_proxy.exchange import Caller


class Audience(Enum):
    """Who may use a route."""

    ADMIN = auto()
    AT_HOME = auto()
    """Admins; if no admin key is configured, also programs on this machine."""
    HEALTH = auto()
    """Everyone who may use the API; with `allow_unauthenticated_health` also callers without a key."""
    ANYBODY = auto()
    """Anyone: routes that reveal nothing, such as the page without its data, and signing in."""
    CALLBACK = auto()
    """A browser redirected here by an authorization server, from another site: its `state` is the key."""


def session_of(call: AdminCall) -> PageSession | None:
    """The session whose cookie the request carries, if it is valid now."""
    keys = call.state.generation.gate.keys
    return call.state.page_sessions.find(call.request.headers, keys.is_admin_digest)


async def admit(call: AdminCall, who: Audience) -> None:
    """Fill in `call.caller` and `call.session`. Raises Unauthorized, Forbidden or Misdirected."""
    generation = call.state.generation
    gate, headers, peer = generation.gate, call.request.headers, call.request.remote or ""
    if call.local:
        call.caller = Caller("local", admin=True)
        return
    if who is Audience.HEALTH:
        if not (gate.keys_required and generation.config.allow_unauthenticated_health):
            call.caller = await gate.admitted(peer, headers)
        return
    if who is Audience.CALLBACK:
        return
    call.session = session_of(call)
    if who is Audience.ANYBODY:
        if "Origin" in headers:  # following a link to the page sends none
            gate.check_own_page(headers)
        # The rules against the internet and rebound names also apply to signing in. Behind a reverse proxy the host may
        # have any name, and visitors who use it see only the sign-in.
        if not gate.keys_required and "X-Forwarded-Host" not in headers:
            gate.admit(peer, headers)
        return
    if call.session is not None:
        gate.check_own_page(headers)
        call.caller = Caller(gate.remote(peer, headers), admin=True)
    else:
        call.caller = gate.admit_admin(peer, headers, at_home=who is Audience.AT_HOME)
