"""Requests of our own to the models, recorded like a client's; those for a person are also decided and limited so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from openai_proxy.decision.begin import begin
from openai_proxy.decision.decide import decide, decided
from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import Overloaded, ProxyError, UpstreamAuthError, UpstreamError, answered_with, writable
from openai_proxy.exchange import (
    Caller,
    Exchange,
    Headers,
    Outcome,
    Target,
    UpstreamRequest,
    UpstreamResponse,
    new_request_id,
)
from openai_proxy.records.recording.entry import Entry
from openai_proxy.runtime.state import ProxyState, Running
from openai_proxy.upstream.answer_body import MAX_ERROR
from openai_proxy.upstream.credentials import credentials
from openai_proxy.upstream.failover import Opened, open_first
from openai_proxy.upstream.refusals import is_moderation, message_in

MakeBody = Callable[[str], tuple[Headers, bytes]]
"""From a model's name at its provider to header fields and body."""


class InternalAnswer:
    """The body of an answer; what is read of it is recorded."""

    def __init__(self, response: UpstreamResponse, entry: Entry) -> None:
        self._response = response
        self._entry = entry

    @property
    def headers(self) -> Headers:
        """All header fields."""
        return self._response.headers

    async def chunk(self) -> bytes:
        """The next piece; b"" at a clean end. Raises the UpstreamError family."""
        piece = await self._response.chunk()
        if piece:
            self._entry.data(piece)
        return piece

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamInvalid past `limit` bytes."""
        whole = await self._response.read(limit)
        self._entry.data(whole)
        return whole


def sendable(state: ProxyState, text: str) -> str:
    """A person's `text` for a provider: without secrets unless redaction is off, without lone surrogates."""
    redacts = state.generation.config.redact_api_keys_in_prompts
    return writable(state.redactor.text(text) if redacts else text)


@asynccontextmanager
async def answer_of(
    state: ProxyState, caller: Caller, endpoint: Endpoint, model: str, make: MakeBody
) -> AsyncIterator[InternalAnswer]:
    """The 2xx answer to a POST to `endpoint` for `model`, sent with failover; otherwise like `asked`.

    It counts as one of the requests being served: limits apply, and an admin can cancel it.
    """
    generation = state.generation
    exchange = Exchange(new_request_id(), caller, "POST", endpoint, model=model)
    task = asyncio.current_task()
    assert task is not None

    async def send(_: Entry) -> Opened:
        if state.draining:
            raise Overloaded("The proxy is shutting down.", code="draining")
        if len(state.running) >= generation.config.limits.max_concurrent_requests:
            raise Overloaded("The proxy is busy. Try again in a moment.")
        state.enter(Running(exchange, generation, task.cancel))
        allowance = generation.allowances.get(caller.group)
        if allowance is not None:
            await state.governor.enter(exchange, allowance)
        decision = decided(decide(generation, caller, endpoint, model))
        exchange.priority = generation.priority(caller.group, model)

        def request(target: Target) -> UpstreamRequest:
            headers, body = make(target.model or model)
            return UpstreamRequest("POST", endpoint.path, headers=headers, body=body)

        return await open_first(begin(decision, generation.upstreams), request, generation.upstreams, exchange)

    async with asked(state, exchange, send) as answer:
        yield answer


@asynccontextmanager
async def asked(
    state: ProxyState,
    exchange: Exchange,
    send: Callable[[Entry], Awaitable[Opened]],
    interrupted: Outcome = Outcome.CLIENT_CLOSED,
) -> AsyncIterator[InternalAnswer]:
    """The 2xx answer to the request that `send` sends, closed and recorded at the end.

    `interrupted` is the outcome if this task is cancelled. Raises ProxyError, also if the provider answers with an
    error or an admin cancels the request.
    """
    entry = state.recorder.open(exchange)
    exchange.outcome = Outcome.ERROR
    response: UpstreamResponse | None = None
    try:
        opened = await send(entry)
        response = opened.response
        exchange.status = response.status
        if not 200 <= response.status < 300:
            raise await _refusal(opened)
        exchange.state = "streaming"
        entry.response(response.status, response.headers)
        yield InternalAnswer(response, entry)
        exchange.outcome = Outcome.DONE
    except asyncio.CancelledError:
        exchange.outcome = interrupted
        if exchange.cut is None:
            raise
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        exchange.outcome, exchange.error_code = Outcome.CANCELLED, exchange.cut.code
        raise exchange.cut from None
    except ProxyError as error:
        exchange.error_code, exchange.cause = error.code, exchange.cause or error.cause
        exchange.status = error.status
        raise
    finally:
        if response is not None:
            response.close()
        state.leave(exchange)
        exchange.release()
        entry.close(exchange.outcome, exchange.error_code)


async def _refusal(opened: Opened) -> UpstreamError:
    """The error for an unsuccessful answer, in words that may be read aloud."""
    who, status = opened.provider.name, opened.response.status
    body = await opened.response.read(MAX_ERROR)
    if credentials(opened) and (status == 401 or (status == 403 and not is_moderation(body))):
        return UpstreamAuthError(f"The connection '{who}' refused its API key.", cause=message_in(body))
    return UpstreamError(answered_with(who, status), cause=message_in(body))
