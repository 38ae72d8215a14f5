"""The tool loop: call the model, run our tools, call it again, until it answers or calls a tool of the client's.

One generator runs one turn. It writes to an `Output` and yields whenever something may be sent; its driver decides
whether that becomes a stream or one completion. Everything it starts ends with it.

The upstream request uses the client's own mode. Cancelling works the same in both (the connection is dropped), and a
whole completion has more than deltas (logprobs, audio, exact usage) and avoids providers' streaming bugs; the gain of
streaming, tools that start before the round's end, is small compared to the round itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.agent import mixed
from openai_proxy.agent.asking import Asking, Chunks, outcome
from openai_proxy.agent.calls import ToolCalls, end_soon, sendable
from openai_proxy.agent.deadline import Deadline
from openai_proxy.agent.emit import TurnOutput
from openai_proxy.agent.fingerprint import ConversationFingerprint
from openai_proxy.agent.plan import Plan, check_request, is_structured, loops
from openai_proxy.agent.rounds import CUT_OFF, Round
from openai_proxy.agent.status import StatusFeed
from openai_proxy.agent.turn import Turn
from openai_proxy.agent.usage import add_usage
from openai_proxy.dialects.chat.deltas import is_object
from openai_proxy.errors import UpstreamError
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.tasks import spawn

if TYPE_CHECKING:
    from openai_proxy.transforms.speech.sentences import Sentences

Flush = AsyncGenerator[None, None]
"""Yields where what has been written may be sent."""

_OUTPUT_ONLY: Final = frozenset({"annotations", "executed_tools", "channel"})
"""Members of an answer that strict providers refuse in a request. Reasoning and signatures are not among them."""


class Loop:
    """One turn of one augmented model. `open` it, then drive `run` to its end, or `abandon` it."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        check_request(turn.body)
        self._deadline = Deadline(turn.settings.deadline, turn.clock, turn.started)
        self._asking = Asking(turn.ask, self._deadline)
        self._given: list[Any] = list(turn.body.get("messages") or ())
        self._messages = self._given
        # Another model cannot use reasoning and signatures of a hidden turn: it is restored only for the same model.
        self._scope = f"{turn.caller}\0{turn.model}"
        if turn.turns is not None and loops(turn.body):
            remember = turn.settings.remember_tool_turns
            self._messages = mixed.restore(turn.turns, self._scope, self._given, remember=remember)
        self.plan = Plan(turn, self._messages)
        self._hidden: list[dict[str, Any]] = []  # finished rounds of this turn
        self._rounds = 0  # their number
        self._usage: dict[str, Any] | None = None
        self._calls: ToolCalls | None = None
        self._last = False  # the next round must be the answer
        self._speech = turn.settings.speech and not is_structured(turn.body)

    @property
    def acted(self) -> bool:
        """True once a tool of ours has run."""
        return self._calls is not None and self._calls.acted

    @property
    def usage(self) -> dict[str, Any] | None:
        """The summed usage of the rounds so far; None if no provider reported any."""
        return self._usage

    async def open(self) -> UpstreamResponse:
        """Send the first request. Raises ProxyError, and UpstreamRefused for an answer that is not 2xx."""
        self._turn.observer.state("waiting")
        self._deadline.check()
        self._last = self._deadline.near
        return await self._asking.open(self.plan.request(self._messages, first=True, last=self._last))

    def apologise(self, out: TurnOutput) -> None:
        """End a turn that has run out of time without an answer: with a sentence of our own."""
        out.delta({"content": self._sentences.too_long})
        out.finish("stop")
        if self.plan.wants_usage and self._usage is not None:
            out.usage(self._usage)

    @property
    def _sentences(self) -> "Sentences":
        from openai_proxy.transforms.speech.sentences import sentences_for  # contains words of many languages

        return sentences_for(self._turn.newest)

    def abandon(self) -> None:
        """Release a turn that will not be run."""
        self._asking.close()

    async def run(
        self, out: TurnOutput, *, status: str, opening: Callable[[], Coroutine[Any, Any, Chunks]] | None = None
    ) -> Flush:
        """The turn from the first answer's head to its end. `status`: chunk, reasoning or off.

        `opening` waits for that head, if it has not arrived yet.
        """
        feed = StatusFeed(status, out, self._turn.clock)
        calls = self._calls = ToolCalls(self._turn, self.plan, feed, self._deadline)
        settings = self._turn.settings
        chunks: Chunks = []
        try:
            out.role()
            if self.plan.toolbox is not None:
                feed.post("calling_llm")
                feed.flush()
            if self._asking.at_hand:
                chunks = await self._asking.read()  # the first words are sent with the role, in one write
            else:
                yield
            if opening is not None:
                async with aclosing(self._watched(opening(), out, feed)) as steps:
                    async for _ in steps:
                        yield
            while True:
                round_ = self._round(out)
                async for _ in self._read(round_, chunks, calls, out, feed):
                    yield
                if (thinks := round_.thinks) is not None:
                    self._turn.thinking.seen(thinks=thinks)
                self._usage = add_usage(self._usage, round_.usage)
                self._turn.observer.usage(self._usage, self._rounds + 1)
                async for _ in self._await_tools(calls, out, feed):
                    yield
                if not calls.started or round_.clients_calls():
                    break
                message, results = self._settled(round_, calls)
                self._hidden += [message, *results]
                self._rounds += 1
                self._last = self._rounds >= settings.max_tool_rounds or self._deadline.near
                feed.post("processing_results")
                feed.flush()
                yield
                self._turn.observer.state("waiting")
                body = self.plan.request([*self._messages, *self._hidden], first=False, last=self._last)
                # Closed explicitly: the client may leave at the yield, and the request must not outlive it.
                async with aclosing(self._watched(self._asking.open_and_read(body), out, feed)) as steps:
                    async for more in steps:
                        chunks = more
                        yield
                out.new_round()
            self._deliver(round_, calls, out)
            if self._turn.published is not None:
                await self._turn.published()
            yield
        finally:
            self._asking.close()
            await calls.close()

    def _round(self, out: TurnOutput) -> Round:
        return Round(
            self.plan,
            out,
            strip_reasoning=self._turn.settings.reasoning == "strip",
            speech=self._speech,
            thinks=self._turn.thinking.expected,
        )

    async def _read(
        self, round_: Round, chunks: list[dict[str, Any]], calls: ToolCalls, out: TurnOutput, feed: StatusFeed
    ) -> Flush:
        """Read one answer to its end, `chunks` first; our calls start as each is complete."""
        clock, heartbeat, asking = self._turn.clock, self._turn.settings.heartbeat, self._asking
        runs = self.plan.toolbox is not None and not self._last
        streaming = False
        while True:
            for chunk in chunks:
                round_.feed(chunk)
                if runs:
                    for call in round_.complete():
                        if round_.reason() not in CUT_OFF or is_object(call["function"]["arguments"]):
                            calls.start(call)
            chunks = []  # not kept while the client does not read
            if round_.spoke and not streaming:
                streaming = True
                self._turn.observer.state("streaming")
            feed.flush()
            if clock() - out.sent_at >= heartbeat:
                out.heartbeat()
            yield
            if asking.ended:
                break
            if round_.finished:
                chunks = await asking.trailer()
            elif calls.pending:
                async with aclosing(self._watched(asking.read(), out, feed)) as steps:
                    async for chunks in steps:  # noqa: B007  # the last one is the piece that came
                        yield
            else:
                chunks = await asking.read()
        round_.end()
        asking.finish_answer()

    async def _await_tools(self, calls: ToolCalls, out: TurnOutput, feed: StatusFeed) -> Flush:
        """Wait for our calls of this round, sending status and heartbeats."""
        if calls.pending:
            self._turn.observer.state("tools")
        while calls.pending:
            async for _ in self._wait(out, feed):
                yield
        feed.flush()

    async def _watched(
        self, reading: Coroutine[Any, Any, Chunks], out: TurnOutput, feed: StatusFeed
    ) -> AsyncGenerator[Chunks, None]:
        """Wait for `reading`, sending status and heartbeats; its result is the last item yielded."""
        task = spawn(outcome(reading), name="await the provider")
        task.add_done_callback(lambda _: feed.wake.set())
        try:
            while not task.done():
                async for _ in self._wait(out, feed):
                    yield []
        finally:
            await end_soon({task})
        result = task.result()
        if isinstance(result, Exception):
            raise result
        yield result

    async def _wait(self, out: TurnOutput, feed: StatusFeed) -> Flush:
        """Wait until something happens, or a heartbeat is due."""
        try:
            async with asyncio.timeout(min(self._until_heartbeat(out), max(0.0, self._deadline.left()))):
                await feed.wake.wait()
        except TimeoutError:
            self._deadline.check()
            out.heartbeat()
        feed.wake.clear()
        feed.flush()
        yield

    def _until_heartbeat(self, out: TurnOutput) -> float:
        return max(0.0, out.sent_at + self._turn.settings.heartbeat - self._turn.clock())

    def _settled(self, round_: Round, calls: ToolCalls) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The model's full assistant message for the next request, and the results of our calls in it."""
        message = {name: value for name, value in round_.turn().items() if name not in _OUTPUT_ONLY}
        theirs = {call["id"] for call in round_.clients_calls()}
        entries = message.get("tool_calls") or ()
        results = calls.take([call["id"] for call in entries if call["id"] not in theirs])
        if entries:
            message["tool_calls"] = [sendable(call) for call in entries]
        return message, results

    def _deliver(self, round_: Round, calls: ToolCalls, out: TurnOutput) -> None:
        """The end of the turn: the client's calls, the finish, the usage."""
        for index in round_.choices():
            theirs = round_.clients_calls(index)
            reason = round_.reason(index)
            if theirs:
                # Some clients drop calls that end with "stop" (Home Assistant's open_router).
                reason = reason if reason in CUT_OFF else "tool_calls"
            elif reason in ("tool_calls", "stop") and round_.has_calls(index):
                if not (out.shown or self._speech):
                    raise UpstreamError("The model kept calling tools and gave no answer.", code="no_answer")
                reason = "stop"
            elif reason == "tool_calls":
                reason = "stop"
            if self._speech and not theirs and not any(map(_is_audible, out.shown)):
                out.delta({"content": " " * bool(out.shown) + self._instead_of_silence(calls)}, index)
            if self.plan.choices == 1:
                self._keep(round_, calls, theirs, out)
            if details := round_.details(index):
                out.delta({"reasoning_details": details}, index)
            for position, call in enumerate(theirs):
                out.call(position, call, index)
            out.finish(reason, index)
        if self.plan.wants_usage and self._usage is not None:
            out.usage(self._usage)

    def _instead_of_silence(self, calls: ToolCalls) -> str:
        """The sentence for a model that says nothing. It claims success only if a tool has done something."""
        if calls.succeeded:
            return self._sentences.done
        return self._sentences.too_long if self._deadline.near else self._sentences.nothing

    def _keep(self, round_: Round, calls: ToolCalls, theirs: list[dict[str, Any]], out: TurnOutput) -> None:
        """Store what the client does not see of this turn, for its next request."""
        store, caller = self._turn.turns, self._scope
        if store is None or not (self._hidden or calls.started):
            return
        seen = ConversationFingerprint()
        for message in self._given:
            seen.add(message)
        if theirs:
            turn, results = self._settled(round_, calls)
            ids = [call["id"] for call in theirs]
            mixed.keep_calls(store, caller, seen, before=self._hidden, turn=turn, results=results, ids=ids)
        elif self._turn.settings.remember_tool_turns:
            turn = {name: value for name, value in round_.turn().items() if name != "tool_calls"}
            mixed.keep_answer(store, caller, seen, before=self._hidden, turn=turn, visible="".join(out.shown))


def _is_audible(text: str) -> bool:
    """True if there is anything to speak in `text`: only the full stop after a removed address may be left."""
    return any(map(str.isalnum, text))
