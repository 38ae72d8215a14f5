"""Who may ask for what is served here (contract §3): an admin key, a session of the page, or the control socket."""

from enum import Enum, auto

from openai_proxy.admin.call import AdminCall
from openai_proxy.auth.page_sessions import PageSession
from openai_proxy.exchange import Caller


class Who(Enum):
    """Whom a route is for."""

    ADMIN = auto()
    AT_HOME = auto()
    """Admins; where no admin key is configured also a program on this machine."""
    HEALTH = auto()
    """Everybody whom the API serves, and with `allow_unauthenticated_health` those without a key too."""
    ANYBODY = auto()
    """What holds nothing of the house: the page without its facts, and the way in."""
    CALLBACK = auto()
    """A browser that an authorization server sent here, from a page of another site: its `state` is a key."""


def session_of(call: AdminCall) -> PageSession | None:
    """The session whose cookie the request carries, if it is valid now."""
    keys = call.state.generation.gate.keys
    return call.state.page_sessions.find(call.request.headers, keys.is_admin_digest)


async def admit(call: AdminCall, who: Who) -> None:
    """Fill in `call.caller` and `call.session`. Raises Unauthorized, Forbidden or Misdirected."""
    generation = call.state.generation
    gate, headers, peer = generation.gate, call.request.headers, call.request.remote or ""
    if call.local:
        call.caller = Caller("local", admin=True)
        return
    if who is Who.HEALTH:
        if not (gate.keys_required and generation.config.allow_unauthenticated_health):
            call.caller = await gate.admitted(peer, headers)
        return
    if who is Who.CALLBACK:
        return
    call.session = session_of(call)
    if who is Who.ANYBODY:
        if "Origin" in headers:  # following a link to the page names none
            gate.check_own_page(headers)
        # The rules that keep out the internet and rebound names hold for the way in too. Behind a reverse proxy the
        # owner may have any name; who comes by it sees no more than the way in.
        if not gate.keys_required and "X-Forwarded-Host" not in headers:
            gate.admit(peer, headers)
        return
    if call.session is not None:
        gate.check_own_page(headers)
        call.caller = Caller(gate.remote(peer, headers), admin=True)
    else:
        call.caller = gate.admit_admin(peer, headers, at_home=who is Who.AT_HOME)
