"""Where a request loses its secrets: before it is sent, whoever it is sent to."""

import asyncio
from collections.abc import Callable
from typing import Any

from openai_proxy.auth.credentials import sent_key
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document, read_document
from openai_proxy.secrets import MARK
from openai_proxy.tasks import in_thread
from openai_proxy.transforms.redaction.redactor import OWN_LENGTH, is_secret

IN_PIECES = 1 << 20
"""Bytes of a body from which on looking at it (about 1.5 ms) leaves the event loop."""


NOTE = "secrets redacted"


def own_key(context: RequestContext) -> str | None:
    """The key the caller sent, whatever it is good for."""
    return sent_key(context.request.headers)


async def for_the_log(context: RequestContext, document: Document) -> bytes:
    """The body without the caller's own key: of all secrets the only one the record itself may not know."""
    own, redactor = own_key(context), context.state.redactor
    if own is None:
        return document.plain
    if document.large:
        return await in_thread(redactor.without_own, document.plain, document.members, own)
    return redactor.without_own(document.plain, document.members, own)


async def clean(context: RequestContext, document: Document) -> Document:
    """A client's JSON body without secrets; the same object where it holds none, or redaction is off."""
    if not context.redacts:
        return document
    body, members = document.plain, document.members
    redactor = context.state.redactor
    own = own_key(context)
    loop = asyncio.get_running_loop()
    if not redactor.fresh:
        await loop.run_in_executor(None, redactor.refresh)
    if len(body) >= IN_PIECES:
        cleaned = await loop.run_in_executor(None, redactor.body, body, members, own)
    else:
        cleaned = redactor.body(body, members, own)
    if cleaned is body:
        return document
    context.exchange.notes.append(NOTE)
    return await read_document(cleaned)


async def cleaner(context: RequestContext) -> Callable[[str], str]:
    """What takes the secrets out of single texts of this request."""
    redactor, own = context.state.redactor, own_key(context)
    if not redactor.fresh:
        await asyncio.get_running_loop().run_in_executor(None, redactor.refresh)
    mine = own if own is not None and len(own) >= OWN_LENGTH and is_secret(own) else None

    def clean_text(text: str) -> str:
        found = redactor.text(text)
        if mine is not None:
            found = found.replace(mine, MARK)
        if found != text and NOTE not in context.exchange.notes:
            context.exchange.notes.append(NOTE)
        return found

    return clean_text


def clean_round(context: RequestContext, body: bytes, document: dict[str, Any]) -> bytes:
    """What one round of an agent sends: prompts and the results of tools as well."""
    if not context.redacts:
        return body
    redactor = context.state.redactor
    if not redactor.fresh:  # a server's token that was learnt in mid-turn
        redactor.refresh()
    return redactor.body(body, document, own_key(context))
