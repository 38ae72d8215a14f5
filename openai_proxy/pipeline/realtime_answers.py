"""What a provider sends over a WebSocket, on its way to the client: bytes pass unchanged, usage is read from a copy.

A conversation may last for hours. So whenever an answer of its caller's key was booked, the same question is asked as
for a new request, and a conversation whose money or tokens of the day are spent is ended. An answer that began before
is completed first, unless it is the conversation's own last answer that spent the rest.
"""

import asyncio

import orjson

from openai_proxy import steps
from openai_proxy.agent.usage import add_usage
from openai_proxy.errors import BadRequest, ProxyError
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.protocols.json_members import parse_object
from openai_proxy.protocols.websocket import POLICY_VIOLATION, TEXT, ServerMessages, close_frame, server_frame
from openai_proxy.upstream.response import StreamedResponse

STEP = 16 * 1024
"""Bytes that are read in one turn of the event loop: they may be some thousand frames."""
_CREATED, _DONE = "response.created", "response.done"
_READ = (_CREATED.encode(), _DONE.encode())


class Answers:
    """The provider's side of one conversation. `refused` is done once the conversation has to end."""

    def __init__(self, context: RequestContext, response: StreamedResponse) -> None:
        self._context = context
        self._response = response
        self._messages = ServerMessages()
        self._passing = False  # what was passed on may end in the middle of a message
        self._answering = False
        self._refusal: ProxyError | None = None
        self.refused: asyncio.Future[ProxyError] = asyncio.get_running_loop().create_future()

    async def pass_on(self) -> None:
        """Pass everything to the client until the provider's side or the conversation ends."""
        messages = self._messages
        while (piece := await self._response.chunk()) and not self.refused.done():
            self._passing = True
            await self._context.reply.write_raw(piece)
            for part in steps.pieces(piece, step=STEP):
                for message in messages.feed(part):
                    if any(name in message for name in _READ):
                        self._read(message)
                if len(piece) > STEP:
                    await asyncio.sleep(0)
            self._passing = not messages.between
            self._end_if_due()

    def booked(self, own: bool) -> None:
        """An answer to the same key was booked, an `own` one of this conversation: may the conversation go on?"""
        context = self._context
        # The present limits: an owner who lowers or raises a budget means the open conversations, too.
        allowance = context.state.generation.allowances.get(context.exchange.caller.group)
        self._refusal = None
        if allowance is None:
            return
        try:
            context.state.governor.check(context.exchange, allowance)
        except ProxyError as error:
            self._refusal = error
            self._answering = self._answering and not own
            self._end_if_due()

    def last_frames(self, error: ProxyError) -> bytes:
        """The error in the format of OpenAI's Realtime API, and the end of the conversation."""
        details = {**error.payload()["error"], "event_id": None}
        event = {"type": "error", "event_id": f"event_{self._context.exchange.id}", "error": details}
        return server_frame(TEXT, orjson.dumps(event)) + close_frame(POLICY_VIOLATION, error.message)

    def _end_if_due(self) -> None:
        due = not self._answering and not self._passing and not self.refused.done()
        if due and self._refusal is not None:
            self.refused.set_result(self._refusal)

    def _read(self, message: bytes) -> None:
        """Charge a response's tokens, and add them to those of the whole conversation for its record."""
        try:
            event = parse_object(message)
        except BadRequest:
            return
        if (kind := event.get("type")) not in (_CREATED, _DONE):
            return
        self._answering = kind == _CREATED
        response = event.get("response")
        if not self._answering and isinstance(response, dict) and isinstance(usage := response.get("usage"), dict):
            exchange = self._context.exchange
            exchange.usage = add_usage(exchange.usage, usage)
            self._context.entry.used(usage)
            if exchange.allowance is not None:
                self._context.state.recorder.nudge()  # before the next answer begins
