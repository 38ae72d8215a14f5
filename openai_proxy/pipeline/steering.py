"""In-chat commands and sessions at the API: who is speaking, their commands, and the effect on their request.

In the order of a conversation: find the session, run the newest message's commands on a copy of it, write changes for
everyone to the configuration, keep the session; then either answer or let the cleaned request continue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from openai_proxy.errors import BadRequest, Forbidden
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document, read_document
from openai_proxy.protocols.json_members import edit
from openai_proxy.secrets import vault
from openai_proxy.tasks import beside
from openai_proxy.transforms.sessions import Identity, Session, implied, named

if TYPE_CHECKING:  # the commands themselves are imported when the first one is seen
    from openai_proxy.transforms.commands.cleaning import Cleaned
    from openai_proxy.transforms.commands.dialogue import DialogueTurn


async def may_concern(context: RequestContext, document: Document) -> bool:
    """False if neither commands nor sessions can matter for this request, as for nearly all requests."""
    if not context.endpoint.commanded or context.exchange.method != "POST" or context.decision is not None:
        return False
    config = context.generation.config
    looks = context.generation.command_mark.in_body
    return (
        await beside(document.large, looks, document.plain)
        or config.commands.interactive
        or context.state.sessions.concern(context.exchange.caller.identity)
    )


async def steer(context: RequestContext, read: Document) -> Document | None:
    """The request changed by its session, without its commands; None if it has been answered.

    Raises Forbidden and BadRequest for commands that are refused or cannot be run.
    """
    from openai_proxy.transforms.commands.cleaning import clean
    from openai_proxy.transforms.commands.registry import commands

    body, document = read.plain, read.members
    config = context.generation.config
    allowed = config.commands.enabled and _may_command(context)
    known = commands() if config.commands.enabled else ()
    clean_arguments = context.endpoint.path, document, config.commands.prefix, known
    cleaned = await beside(read.large, clean, *clean_arguments)
    identity = await beside(read.large, _identity, context, document, cleaned.turns)
    session = _session(context, identity)
    if not allowed:
        if cleaned.alone and cleaned.calls and config.commands.enabled:
            raise Forbidden("You may not use commands here.", code="command_refused")
        cleaned.replace.clear()
        cleaned.remove.clear()
        cleaned.calls.clear()
        cleaned.alone = False
    interactive = _interactive(context, session) or any(call.get("interactive") for call in cleaned.calls)
    if interactive or any(call.name == "hello" for call in cleaned.calls):
        await context.state.catalog.models()  # replies about models should be right even in the first second
    results = await _obey(context, cleaned, session) if cleaned.calls or cleaned.alone else []
    greeting = _greeting(context, identity, session) if cleaned.alone or context.endpoint.noticed else []
    notices = [vault.scrub(text) for text in (*greeting, *results)]  # names and targets may contain secrets
    context.session = session
    _keep(context, identity, session)
    if cleaned.alone:
        from openai_proxy.pipeline.command_reply import answer

        context.entry.request(body)
        text = "\n".join(notices)
        if context.opening is not None:
            context.state.sessions.begun(context.opening, text, session)
            context.opening = None
        await context.state.shared.written()
        await answer(context, text, document)
        return None
    if _interactive(context, session) and context.endpoint.noticed:
        context.notice = "\n".join(notices)
    changed = await beside(read.large, cleaned.applied, body)
    if session.model is not None and session.model != document.get("model"):
        model = {"model": orjson.dumps(session.model)}
        changed = await beside(read.large, edit, changed, model)
    return read if changed is body else await read_document(changed)


def _may_command(context: RequestContext) -> bool:
    group = context.generation.config.groups.get(context.exchange.caller.group or "")
    return group is None or group.commands


def _identity(context: RequestContext, document: dict[str, Any], turns: list[DialogueTurn]) -> Identity:
    caller = context.exchange.caller.identity
    key = named(caller, context.exchange.session_id, document)
    if key is not None:
        return Identity(key, named=True)
    first = next((turn.text for turn in turns if turn.role == "user"), "")
    spoken = next((turn for turn in turns if turn.role == "assistant"), None)
    return implied(caller, first, None if spoken is None else spoken.text.strip() or spoken.calls)


def _session(context: RequestContext, identity: Identity) -> Session:
    """A copy of the session, to be kept if everything succeeds."""
    found = None
    if identity.key is not None:
        found = context.state.sessions.get(identity.key, context.generation.config.session_ttl)
    return found.copy() if found is not None else Session(caller=context.exchange.caller.identity)


def _keep(context: RequestContext, identity: Identity, session: Session) -> None:
    sessions = context.state.sessions
    if identity.key is not None:
        if session.worth_keeping or sessions.concern(session.caller):
            sessions.put(identity.key, session)
    elif session.worth_keeping:
        context.opening = identity.opening  # stored when the answer, and with it its name, is known


async def _obey(context: RequestContext, cleaned: Cleaned, session: Session) -> list[str]:
    """Run the commands on `session`; returns their replies. Raises Forbidden, BadRequest."""
    from openai_proxy.pipeline.command_host import command_host, write_down
    from openai_proxy.transforms.commands.context import CommandContext, CommandError, CommandRefused, did_you_mean
    from openai_proxy.transforms.commands.registry import commands

    state, generation = context.state, context.generation
    known = commands()
    prefix = generation.config.commands.prefix
    command_context = CommandContext(
        host=command_host(context),
        session=session,
        prefix=prefix,
        may_change_globally=generation.gate.may_change_globally(context.exchange.caller, context.request.headers),
        alone=cleaned.alone,
        drafts=state.sessions.drafts,
    )
    before = session.copy()
    notices: list[str] = []
    try:
        if any(vault.found_in(value) for call in cleaned.calls for _, value in call.arguments):
            raise CommandError("This contains an API key; names must not.")  # the name would be stored and logged
        notices += [known[call.name].run(call, command_context) for call in cleaned.calls]
    except CommandRefused as refused:
        raise Forbidden(str(refused), code="command_refused") from None
    except CommandError as error:
        if not cleaned.alone:  # it may have been meant to change the target, so the question must not be sent
            raise BadRequest(str(error), code="command_failed") from None
        for name in session.__slots__:
            setattr(session, name, getattr(before, name))
        return [str(error)]
    if cleaned.alone:
        notices += [
            f"There is no command {prefix}{name}.{did_you_mean(name, known)} Type {prefix}help for all of them."
            for name in cleaned.unknown
        ]
    if command_context.edits:
        notices += await write_down(context, command_context.edits.members)
    for name, policy in command_context.new_drafts.items():
        if policy is None:
            state.sessions.undraft(name)
        else:
            state.sessions.draft(name, policy)
    return notices + command_context.notes


def _interactive(context: RequestContext, session: Session) -> bool:
    default = context.generation.config.commands.interactive
    return default if session.interactive is None else session.interactive


def _greeting(context: RequestContext, identity: Identity, session: Session) -> list[str]:
    """The banner, once per session with interactive mode on."""
    own = identity.named or session.interactive is not None  # what is remembered of it; otherwise its beginning decides
    if not _interactive(context, session) or session.greeted or not (own or identity.key is None):
        return []
    from openai_proxy.pipeline.command_host import command_host
    from openai_proxy.transforms.commands.builtin.hello import banner

    session.greeted = own
    return [banner(command_host(context), context.generation.config.commands.prefix)]
