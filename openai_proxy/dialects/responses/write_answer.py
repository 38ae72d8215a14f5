"""Writes a chat answer as the Responses API does: as events, whole, and as errors.

It follows the official grammar, since clients differ in their tolerance: items strictly one after another, a delta and
a `.done` for every text and every argument, everything repeated in the last event.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.responses.output_items import (
    CallItem,
    EventWriter,
    MessageItem,
    OutputItem,
    ReasoningItem,
)
from openai_proxy.dialects.responses.read_request import ResponsesDetails
from openai_proxy.dialects.responses.response_object import ended, error_code, error_members, response_object
from openai_proxy.dialects.responses.tools import Declared
from openai_proxy.errors import UpstreamInvalid

_CALLS_ONLY: Final = frozenset({"tool_calls", "role"})
_NOT_UNDERSTOOD: Final = "The provider sent an answer that is not understood."


def error_event(error: Mapping[str, Any]) -> bytes:
    """The end of a failed stream that a provider began; without a number, because its events were not counted."""
    return b"event: error\ndata: %b\n\n" % json_text.dumps({"type": "error", **error_members(error)})


@dataclass(slots=True, eq=False)
class _Call:
    """A call of the model."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)  # its arguments, until its item begins
    item: CallItem | None = None


class ResponsesWriter:
    """See dialects.base.AnswerWriter. `response` is the current object, complete once the answer has ended."""

    def __init__(self, details: ResponsesDetails | None, model: str) -> None:
        details = details or ResponsesDetails({}, {})
        self.response = response_object(details, model)
        self.ended = False
        self._details = details
        self._events = EventWriter()
        self._started = False
        self._open: OutputItem | None = None
        self._calls: dict[int, _Call] = {}  # by their index
        self._waiting: deque[Mapping[str, Any] | _Call] = deque()  # what arrived while a call was incomplete
        self._finish: str | None = None
        self._usage: Mapping[str, Any] | None = None

    @property
    def stream_type(self) -> bytes:
        return b"text/event-stream; charset=utf-8"

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """See AnswerWriter. Raises UpstreamInvalid for what is not a chunk."""
        if self.ended:
            return b""
        if chunk.get("error"):
            error = chunk["error"]
            return self.error(error if isinstance(error, dict) else {"message": str(error)})
        try:
            return self._chunk(chunk)
        except (KeyError, IndexError, TypeError, AttributeError):
            raise UpstreamInvalid(_NOT_UNDERSTOOD) from None

    def heartbeat(self) -> bytes:
        """See AnswerWriter: another `response.in_progress`, with everything so far."""
        if self.ended:
            return b""
        if not self._started:
            self._start()
        else:
            output = [*self.response["output"], *([self._open.item()] if self._open is not None else [])]
            self._events.emit("response.in_progress", {"response": {**self.response, "output": output}})
        return self._events.take()

    def end(self) -> bytes:
        """See AnswerWriter. An answer whose last chunk has no finish_reason has failed."""
        if self.ended:
            return b""
        if self._finish is None:
            return self.error({"message": "The provider broke off in the middle of its answer."})
        self._close_all()
        self._conclude()
        return self._events.take()

    def error(self, error: Mapping[str, Any]) -> bytes:
        """See AnswerWriter: `response.failed`, which Codex shows, and `error`, at which the SDKs raise."""
        if self.ended:
            return b""
        if not self._started:
            self._start()
        self.ended = True
        event = error_members(error)
        if self._open is not None:
            self.response["output"].append(self._open.item("incomplete"))
        self.response.update(status="failed", error={"code": error_code(error), "message": event["message"]})
        self._events.emit("response.failed", {"response": self.response})
        self._events.emit("error", event)
        return self._events.take()

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        try:
            choice = completion["choices"][0]
            message = dict(choice["message"])
        except (KeyError, IndexError, TypeError):
            raise UpstreamInvalid(_NOT_UNDERSTOOD) from None
        if message.get("tool_calls"):
            message["tool_calls"] = [{**call, "index": index} for index, call in enumerate(message["tool_calls"])]
        self._events.unread = True
        delta = {"delta": message, "logprobs": choice.get("logprobs")}
        self.chunk({**completion, "choices": [{**delta, "finish_reason": choice.get("finish_reason") or "stop"}]})
        self.end()
        return json_text.dumps(self.response)

    def _chunk(self, chunk: Mapping[str, Any]) -> bytes:
        starting = not self._started
        if starting:
            self._start()
        self._usage = chunk.get("usage") or self._usage
        if chunk.get("service_tier"):
            self.response["service_tier"] = chunk["service_tier"]
        choices = chunk.get("choices")
        if choices:
            choice = choices[0]
            if choice.get("index"):
                return b""  # this API has only one choice
            delta = choice.get("delta")
            if delta:
                self._delta(delta, choice.get("logprobs"))
            finish = choice.get("finish_reason")
            if finish is not None:
                self._finish = finish
            elif not delta and not starting:
                return self.heartbeat()  # hidden work goes on: keep the client from timing out
        return self._events.take()

    def _delta(self, delta: Mapping[str, Any], logprobs: Any) -> None:
        content = delta.get("content")
        if type(content) is str and type(self._open) is MessageItem and len(delta) == 1 and not logprobs:
            if content:
                self._open.text(content)  # nearly every chunk
            return
        if not delta.keys() <= _CALLS_ONLY:
            if logprobs:
                delta = {**delta, "logprobs": logprobs}
            if self._blocked():
                self._waiting.append(delta)
            else:
                self._say(delta)
        for entry in delta.get("tool_calls") or ():
            self._call(entry)

    def _say(self, delta: Mapping[str, Any]) -> None:
        """Write everything of `delta` except its calls."""
        if delta.get("reasoning_content"):
            self._reasoning().text(delta["reasoning_content"])
        for detail in delta.get("reasoning_details") or ():
            if isinstance(detail, dict):
                self._reasoning().detail(detail)
        if delta.get("content"):
            self._message().text(delta["content"], _tokens(delta.get("logprobs")))
        if delta.get("refusal"):
            self._message().refusal(delta["refusal"])
        for annotation in delta.get("annotations") or ():
            cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
            if isinstance(cited, dict):
                self._message().annotation({"type": "url_citation", **cited})

    def _call(self, entry: dict[str, Any]) -> None:
        function = entry.get("function") or {}
        piece = function.get("arguments") or ""
        call = self._calls.get(entry["index"])
        if call is None:
            call = self._calls[entry["index"]] = _Call(entry["id"], function["name"])
            call.pieces.append(piece)
            if self._blocked():
                self._waiting.append(call)
            else:
                self._announce(call)
        elif call.item is None:
            call.pieces.append(piece)
        elif call.item is self._open:
            call.item.more(piece)
            if self._waiting and piece.rstrip().endswith("}"):
                self._advance()
        elif piece.strip():
            raise UpstreamInvalid("The provider continued a tool call that had ended.")

    def _blocked(self) -> bool:
        """True while a call is being written whose arguments are incomplete: other output must wait."""
        return isinstance(self._open, CallItem) and not self._open.whole

    def _advance(self) -> None:
        while self._waiting and not self._blocked():
            self._write(self._waiting.popleft())

    def _write(self, waiting: "Mapping[str, Any] | _Call") -> None:
        if isinstance(waiting, _Call):
            self._announce(waiting)
        else:
            self._say(waiting)

    def _announce(self, call: "_Call") -> None:
        if isinstance(self._open, MessageItem):
            self._open.phase = "commentary"  # text before a call
        self._leave("completed")
        declared = self._details.declared.get(call.name) or Declared("function", call.name)
        call.item = self._open = CallItem(self._events, len(self.response["output"]), call.id, declared)
        arguments = "".join(call.pieces)
        if arguments:
            call.item.more(arguments)

    def _message(self) -> MessageItem:
        if not isinstance(self._open, MessageItem):
            self._leave("completed")
            self._open = MessageItem(self._events, len(self.response["output"]))
        return self._open

    def _reasoning(self) -> ReasoningItem:
        if not isinstance(self._open, ReasoningItem):
            self._leave("completed")
            self._open = ReasoningItem(self._events, len(self.response["output"]), packs=self._details.packs)
        return self._open

    def _leave(self, status: str) -> None:
        item, self._open = self._open, None
        if item is not None:
            self.response["output"].append(item.close(status))

    def _close_all(self) -> None:
        cut = self._finish in ("length", "content_filter")
        if cut and self._blocked():
            # Half a call must not look complete: a client would run it, or fail at its arguments.
            self._open = None
            self._waiting.clear()
        while self._waiting:
            self._write(self._waiting.popleft())
        if isinstance(self._open, MessageItem) and not self._calls and not cut:
            self._open.phase = "final_answer"
        self._leave("incomplete" if cut else "completed")
        if not cut and all(item["type"] == "reasoning" for item in self.response["output"]):
            self._message()
            self._leave("completed")

    def _conclude(self) -> None:
        self.ended = True
        self.response = ended(self.response, self._finish, self._usage)
        status = self.response["status"]
        self._events.emit(f"response.{status}", {"response": self.response})
        if self._details.ended is not None:
            self._details.ended(self.response)

    def _start(self) -> None:
        self._started = True
        self._events.emit("response.created", {"response": self.response})
        self._events.emit("response.in_progress", {"response": self.response})


def _tokens(logprobs: Any) -> list[Any] | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else None
