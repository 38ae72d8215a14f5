"""In-chat commands and sessions at the API: who is speaking, what they order, and what it means for their request.

The order is that of a conversation: find the session, obey the newest message's commands on a copy of it, write down
what is for everyone, keep the session; then either answer or let the cleaned request go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from openai_proxy.api.asked import COMMANDED
from openai_proxy.api.preface import PATHS as PREFACED
from openai_proxy.api.visit import Visit
from openai_proxy.errors import BadRequest, Forbidden
from openai_proxy.exchange import Target
from openai_proxy.protocols.json_members import edit, parse_object
from openai_proxy.routing.router import Route, connection_of
from openai_proxy.transforms.sessions import Identity, Session, implied, named

if TYPE_CHECKING:  # the commands themselves are imported when the first one is seen
    from openai_proxy.transforms.commands.cleaning import Cleaned
    from openai_proxy.transforms.commands.dialogue import Turn


def may_concern(visit: Visit, body: bytes) -> bool:
    """False if neither commands nor sessions can matter for this request: the answer for nearly all of them."""
    if visit.path not in COMMANDED or visit.exchange.method != "POST" or visit.route is not None:
        return False
    config = visit.generation.config
    return (
        visit.generation.command_mark.in_body(body)
        or config.commands.interactive
        or visit.state.sessions.concern(visit.exchange.caller.identity)
    )


async def steer(visit: Visit, body: bytes, document: dict[str, Any]) -> tuple[bytes, dict[str, Any]] | None:
    """The request as the session has it, without its commands; None if it has been answered.

    Raises Forbidden and BadRequest for commands that are refused or cannot be obeyed.
    """
    from openai_proxy.transforms.commands.cleaning import clean
    from openai_proxy.transforms.commands.registry import commands

    config = visit.generation.config
    allowed = config.commands.enabled and _may_command(visit)
    cleaned = clean(visit.path, document, config.commands.prefix, commands() if config.commands.enabled else ())
    identity = _identity(visit, document, cleaned.turns)
    session = _session(visit, identity)
    if not allowed:
        if cleaned.alone and cleaned.calls and config.commands.enabled:
            raise Forbidden("You may not use commands here.", code="command_refused")
        cleaned.replace.clear()
        cleaned.remove.clear()
        cleaned.calls.clear()
        cleaned.alone = False
    interactive = _interactive(visit, session) or any(call.get("interactive") for call in cleaned.calls)
    if interactive or any(call.name == "hello" for call in cleaned.calls):
        await visit.state.catalog.models()  # what is told of the models is to be true in the first second too
    told = await _obey(visit, cleaned, session) if cleaned.calls or cleaned.alone else []
    greeting = _greeting(visit, identity, session) if cleaned.alone or visit.path in PREFACED else []
    visit.session = session
    _keep(visit, identity, session)
    if cleaned.alone:
        from openai_proxy.api.own_answer import answer

        visit.entry.request(body)
        text = "\n".join([*greeting, *told])
        if visit.opening is not None:
            visit.state.sessions.begun(visit.opening, text, session)
            visit.opening = None
        await answer(visit, text, document)
        return None
    if _interactive(visit, session) and visit.path in PREFACED:
        visit.preface = "\n".join([*greeting, *told])
    changed = cleaned.applied(body)
    if session.model is not None and session.model != document.get("model"):
        changed = edit(changed, {"model": orjson.dumps(session.model)})
    return (body, document) if changed is body else (changed, parse_object(changed))


def _may_command(visit: Visit) -> bool:
    group = visit.generation.config.groups.get(visit.exchange.caller.group or "")
    return group is None or group.commands


def _identity(visit: Visit, document: dict[str, Any], turns: list[Turn]) -> Identity:
    caller = visit.exchange.caller.identity
    key = named(caller, visit.exchange.session_id, document)
    if key is not None:
        return Identity(key, named=True)
    first = next((turn.text for turn in turns if turn.role == "user"), "")
    spoken = next((turn for turn in turns if turn.role == "assistant"), None)
    return implied(caller, first, None if spoken is None else spoken.text.strip() or spoken.calls)


def _session(visit: Visit, identity: Identity) -> Session:
    """A copy of the session, to be kept once all went well."""
    found = None
    if identity.key is not None:
        found = visit.state.sessions.get(identity.key, visit.generation.config.session_ttl)
    return found.copy() if found is not None else Session(caller=visit.exchange.caller.identity)


def _keep(visit: Visit, identity: Identity, session: Session) -> None:
    sessions = visit.state.sessions
    if identity.key is not None:
        if session.worth_keeping or sessions.concern(session.caller):
            sessions.put(identity.key, session)
    elif session.worth_keeping:
        visit.opening = identity.opening  # kept under its name when the answer is known


async def _obey(visit: Visit, cleaned: Cleaned, session: Session) -> list[str]:
    """Do what the commands say, on `session`; what is to be told. Raises Forbidden, BadRequest."""
    from openai_proxy.api.house import house_of, write_down
    from openai_proxy.transforms.commands.context import CommandError, CommandRefused, Context, nearest
    from openai_proxy.transforms.commands.registry import commands

    state, generation = visit.state, visit.generation
    known = commands()
    prefix = generation.config.commands.prefix
    gate, request = generation.gate, visit.request
    context = Context(
        house=house_of(visit),
        session=session,
        prefix=prefix,
        may_change_house=visit.exchange.caller.admin or gate.may_change_house(request.remote or "", request.headers),
        drafts=state.sessions.drafts,
    )
    before = session.copy()
    told: list[str] = []
    try:
        told += [known[call.name].run(call, context) for call in cleaned.calls]
    except CommandRefused as refused:
        raise Forbidden(str(refused), code="command_refused") from None
    except CommandError as error:
        if not cleaned.alone:  # whatever it was to change, the question must not go elsewhere
            raise BadRequest(str(error), code="command_failed") from None
        for name in session.__slots__:
            setattr(session, name, getattr(before, name))
        return [str(error)]
    if cleaned.alone:
        told += [
            f"There is no command {prefix}{name}.{nearest(name, known)} Type {prefix}help for all of them."
            for name in cleaned.unknown
        ]
    if context.edits:
        told += await write_down(visit, context.edits.members)
    for name, policy in context.new_drafts.items():
        if policy is None:
            state.sessions.drafts.pop(name, None)
        else:
            state.sessions.draft(name, policy)
    return told + context.notes


def _interactive(visit: Visit, session: Session) -> bool:
    house = visit.generation.config.commands.interactive
    return house if session.interactive is None else session.interactive


def _greeting(visit: Visit, identity: Identity, session: Session) -> list[str]:
    """The banner, once in a session whose interactive mode is on."""
    own = identity.named or session.interactive is not None  # what is remembered of it; else its beginning must do
    if not _interactive(visit, session) or session.greeted or not (own or identity.key is None):
        return []
    from openai_proxy.api.house import house_of
    from openai_proxy.transforms.commands.builtin.hello import banner

    session.greeted = own
    return [banner(house_of(visit), visit.generation.config.commands.prefix)]


def own_route(visit: Visit, name: str | None) -> Route | None:
    """The failover route of this session called `name`. Raises BadRequest if it leads nowhere for this caller."""
    generation, caller, session = visit.generation, visit.exchange.caller, visit.session
    if session is not None and name is not None and (own := session.routes.get(name)) is not None:
        targets: list[Target] = []
        for text in own.targets:
            connection = connection_of(text, generation.config.connections)
            model = text[len(connection) + 1 :].replace("*", name) if connection is not None else ""
            if connection is not None and generation.access.may_use(caller, model):
                targets.append(Target(connection, generation.config.connections[connection].model or model))
        if not targets:
            raise BadRequest(f"The route {name[:64]} has no targets.", param="model", code="empty_route")
        return Route(tuple(targets), own.policy, f"route '{name}' of a session")
    return None


def by_backend(visit: Visit, name: str | None) -> Route | None:
    """Where `name` goes on the backend of this session; None if it has none, or the name says where it goes."""
    generation, session = visit.generation, visit.session
    backend = session.backend if session is not None else None
    if backend is None or backend not in generation.config.connections:
        return None
    head, colon, rest = (name or "").partition(":")
    if colon and rest and head in generation.config.connections:
        return None  # asked for by name, past every rule
    if name is None:
        return Route((Target(backend, generation.config.connections[backend].model or None),), "ordered", "session")
    return generation.router.resolve(f"{backend}:{name}")
