"""The agent's two doors. For the API:

    answer = await agent.start(turn)            # the first upstream has answered 2xx, or this raises
    # streaming
    async with contextlib.aclosing(answer.stream()) as pieces:
        async for data in pieces:
            await response.write(data)
    # or whole
    completion = await answer.completion()

`start` and `completion` raise ProxyError (an error of ours) or UpstreamRefused (the provider's own error answer, to
be passed on with `extra` headers added). A stream never raises but for cancellation: what fails is its last event.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from openai_proxy.agent.asking import Chunks, opened, outcome, raised
from openai_proxy.agent.calls import end_soon
from openai_proxy.agent.emit import CompletionSink, TurnOutput
from openai_proxy.agent.loop import Loop
from openai_proxy.agent.refusal import NO_RETRY, UpstreamRefused
from openai_proxy.agent.turn import Turn
from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import DONE, error_event, event, new_id
from openai_proxy.errors import DeadlineExceeded, InternalError, ProxyError
from openai_proxy.exchange import Headers
from openai_proxy.tasks import spawn

log = logging.getLogger(__name__)


class TurnAnswer:
    """A turn whose first answer has begun. Drive exactly one of `stream` and `completion`, or `close` it."""

    def __init__(
        self, turn: Turn, loop: Loop, headers: Headers, opening: Callable[[], Coroutine[Any, Any, Chunks]] | None = None
    ) -> None:
        """`opening` waits for the first answer where it has not come yet, or raises what came instead."""
        self._turn = turn
        self._loop = loop
        self._opening = opening
        self.headers = headers  # of the first answer: x-request-id and the like
        self.id = new_id()
        self.error: ProxyError | UpstreamRefused | None = None  # what ended the turn, for the record
        self.whole = True  # the client has not been told of it: an answer of our own stands in its place

    @property
    def acted(self) -> bool:
        """True once a tool of ours has run."""
        return self._loop.acted

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage of the rounds so far, summed, whether the client asked for it or not; None if nobody told any."""
        return self._loop.usage

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The whole stream, event by event or several at once. Closing it ends everything within 0.2 s."""
        async with aclosing(self.chunks()) as pieces:
            async for chunks in pieces:
                yield b"".join([error_event(c["error"]) if "error" in c else event(c) for c in chunks])
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
                        yield made.copy()
                        made.clear()
            except DeadlineExceeded as error:
                self.error = error
                if out.said:
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
        sink = CompletionSink()
        out = TurnOutput(sink.put, id=self.id, model=self._turn.model, clock=self._turn.clock)
        try:
            async with aclosing(self._loop.run(out, status="off", opening=self._opening)) as steps:
                async for _ in steps:
                    continue
        except DeadlineExceeded as error:
            self.error = error
            sink = CompletionSink()  # what had come was no whole answer
            self._loop.apologise(TurnOutput(sink.put, id=self.id, model=self._turn.model, clock=self._turn.clock))
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
        return sink.completion()

    def close(self) -> None:
        """Let go of an answer that nobody will read."""
        self._loop.abandon()


async def start(turn: Turn) -> TurnAnswer:
    """Ask the model for the first time and return once it has answered 2xx.

    Raises ProxyError where no answer came and UpstreamRefused where it is an error. Nothing of ours has run by then.
    It returns sooner where the turn's time is over, for then the answer is a sentence of our own, and where a stream
    has to wait for a machine that sleeps (`Turn.waking`): its client is kept company meanwhile.
    """
    loop = Loop(turn)
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
    """The answer, begun or (once `waking` is set) still to begin."""
    opening = spawn(outcome(loop.open()), name="ask the provider")
    news = spawn(waking.wait(), name="wait for news of the provider")
    try:
        await asyncio.wait({opening, news}, return_when=asyncio.FIRST_COMPLETED)
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
        news.cancel()
