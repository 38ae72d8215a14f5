"""The agent's entry points. For the API:

    answer = await agent.start(turn)            # the first upstream has answered 2xx, or this raises
    # streaming
    async with contextlib.aclosing(answer.stream()) as pieces:
        async for data in pieces:
            await response.write(data)
    # or whole
    completion = await answer.completion()

`start` and `completion` raise ProxyError (an error of ours) or UpstreamRefused (the provider's own error answer, to be
passed on with `extra` headers added). A stream raises nothing but cancellation: an error is its last event.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from openai_proxy.agent.asking import Chunks, opened, outcome, raised
from openai_proxy.agent.calls import end_soon
from openai_proxy.agent.emit import TurnOutput
from openai_proxy.agent.loop import Loop
from openai_proxy.agent.refusal import NO_RETRY, UpstreamRefused
from openai_proxy.agent.turn import Turn
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import DONE, events, new_id, size_of
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.errors import DeadlineExceeded, InternalError, ProxyError
from openai_proxy.exchange import Headers
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.tasks import beside, spawn

log = logging.getLogger(__name__)


class TurnAnswer:
    """A turn whose first answer has begun. Drive exactly one of `stream` and `completion`, or `close` it."""

    def __init__(
        self, turn: Turn, loop: Loop, headers: Headers, opening: Callable[[], Coroutine[Any, Any, Chunks]] | None = None
    ) -> None:
        """`opening` waits for the first answer if it has not arrived yet, or raises an error that came instead."""
        self._turn = turn
        self._loop = loop
        self._opening = opening
        self.headers = headers  # of the first answer: x-request-id and the like
        self.id = new_id()
        self.error: ProxyError | UpstreamRefused | None = None  # what ended the turn, for the record
        self.whole = True  # False: it failed, the client saw no error, and an answer of ours replaces it

    @property
    def acted(self) -> bool:
        """True once a tool of ours has run."""
        return self._loop.acted

    @property
    def usage(self) -> dict[str, Any] | None:
        """The summed usage of the rounds so far, even if the client did not request it; None if none was reported."""
        return self._loop.usage

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The whole stream, one or several events at a time. Closing it ends everything within 0.2 s."""
        async with aclosing(self.chunks()) as pieces:
            async for chunks in pieces:
                large = any(size_of(chunk) >= LARGE for chunk in chunks)  # a client's tool call, which is written whole
                data = await beside(large, events, chunks)
                del chunks  # ten times the memory, for as long as the client does not read
                yield data
        if self.whole:
            yield DONE

    async def chunks(self) -> AsyncGenerator[list[Chunk], None]:
        """The same as chunks (see dialects.base); one with `error` is the last."""
        made: list[Chunk] = []
        out = TurnOutput(made.append, id=self.id, model=self._turn.model, clock=self._turn.clock)
        payload: dict[str, Any] | None = None
        async with aclosing(
            self._loop.run(out, status=self._turn.settings.tool_status, opening=self._opening)
        ) as steps:
            try:
                async for _ in steps:
                    if made:
                        yield _taken(made)
            except DeadlineExceeded as error:
                self.error = error
                if out.shown:
                    payload = error.payload()
                else:
                    self._loop.apologise(out)
            except (ProxyError, UpstreamRefused) as error:
                self.error = error
                payload = error.payload()
            except Exception:
                log.exception("request %s: the agent failed", self._turn.request_id)
                self.error = InternalError("The proxy failed.")
                payload = self.error.payload()
        if payload is not None:
            self.whole = False
            made.append(payload)
        if made:
            yield made

    async def completion(self) -> dict[str, Any]:
        """The whole answer as one `chat.completion`. Cancelling it ends everything within 0.2 s."""
        fold = MessageFold()
        out = TurnOutput(fold.feed, id=self.id, model=self._turn.model, clock=self._turn.clock)
        try:
            async with aclosing(self._loop.run(out, status="off", opening=self._opening)) as steps:
                async for _ in steps:
                    continue
        except DeadlineExceeded as error:
            self.error = error
            fold = MessageFold()  # what had arrived so far was not a whole answer
            self._loop.apologise(TurnOutput(fold.feed, id=self.id, model=self._turn.model, clock=self._turn.clock))
        except ProxyError as error:
            self.error = error
            if self.acted:
                error.headers.update(NO_RETRY)
            raise
        except UpstreamRefused as error:
            self.error = error
            if self.acted:
                error.extra.update(NO_RETRY)
            raise
        return fold.completion(think=False)

    def close(self) -> None:
        """Release an answer that nobody will read."""
        self._loop.abandon()


def _taken(made: list[Chunk]) -> list[Chunk]:
    """What is in `made`, which is empty afterwards: nothing of it is kept while the client does not read."""
    taken = made.copy()
    made.clear()
    return taken


async def start(turn: Turn) -> TurnAnswer:
    """Send the first request and return once the model has answered 2xx.

    Raises ProxyError without an answer and UpstreamRefused for an error. None of our tools has run by then. Returns
    sooner if the turn's time is over, since the answer is then a sentence of our own, and if a stream must wait for a
    sleeping machine (`Turn.waking`), to send its client heartbeats meanwhile.
    """
    loop = await beside(turn.large, Loop, turn)
    try:
        if turn.waking is not None and loop.plan.stream:
            return await _start_or_wait(turn, loop, turn.waking)
        response = await loop.open()
    except DeadlineExceeded as late:
        loop.abandon()
        return TurnAnswer(turn, loop, (), partial(raised, late))
    except BaseException:
        loop.abandon()
        raise
    return TurnAnswer(turn, loop, response.headers)


async def _start_or_wait(turn: Turn, loop: Loop, waking: asyncio.Event) -> TurnAnswer:
    """The answer, begun or (once `waking` is set) yet to begin."""
    opening = spawn(outcome(loop.open()), name="ask the provider")
    change = spawn(waking.wait(), name="wait for news of the provider")
    try:
        await asyncio.wait({opening, change}, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            return TurnAnswer(turn, loop, (), partial(opened, opening))
        result = opening.result()
        if isinstance(result, Exception):
            raise result
        return TurnAnswer(turn, loop, result.headers)
    except BaseException:
        await end_soon({opening})
        raise
    finally:
        change.cancel()
