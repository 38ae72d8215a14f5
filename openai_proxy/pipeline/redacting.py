"""Where secrets are removed from a request, before it is sent to anyone."""

import asyncio
from collections.abc import Callable
from typing import Any

from openai_proxy.auth.credentials import sent_key
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document, read_document
from openai_proxy.secrets import MARK
from openai_proxy.tasks import beside
from openai_proxy.transforms.redaction.redactor import OWN_LENGTH, is_secret

IN_PIECES = 1 << 20
"""Bytes of a body from which scanning it (about 1.5 ms) is moved off the event loop."""


NOTE = "secrets redacted"


def own_key(context: RequestContext) -> str | None:
    """The key that the caller sent, valid or not."""
    return sent_key(context.request.headers)


async def for_the_log(context: RequestContext, document: Document) -> bytes:
    """The body without the caller's own key: the only secret that even the record must not contain."""
    own, redactor = own_key(context), context.state.redactor
    if own is None:
        return document.plain
    return await beside(document.large, redactor.without_own, document.plain, document.members, own)


async def clean(context: RequestContext, document: Document) -> Document:
    """A client's JSON body without secrets; the same object if it has none, or redaction is off."""
    if not context.redacts:
        return document
    body, members = document.plain, document.members
    redactor = context.state.redactor
    own = own_key(context)
    if not redactor.fresh:
        await asyncio.get_running_loop().run_in_executor(None, redactor.refresh)
    cleaned = await beside(len(body) >= IN_PIECES, redactor.body, body, members, own)
    if cleaned is body:
        return document
    context.exchange.notes.append(NOTE)
    return await read_document(cleaned)


async def cleaner(context: RequestContext) -> Callable[[str], str]:
    """A function that removes the secrets from single texts of this request."""
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
    """The same for what an agent's round sends, including prompts and tool results."""
    if not context.redacts:
        return body
    redactor = context.state.redactor
    if not redactor.fresh:  # an MCP server's token was learnt during the turn
        redactor.refresh()
    return redactor.body(body, document, own_key(context))
