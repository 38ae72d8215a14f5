"""A provider's Responses answer as chat chunks, streamed or whole.

Providers differ in ids, in `event:` lines, in which events they send at all, and in the order of items. So events are
matched by `output_index`, the `type` in their data is authoritative, and whatever the deltas lack is taken from `.done`
and from the last event. https://platform.openai.com/docs/api-reference/responses-streaming
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import chunk
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.event_reader import MAX_PARTS, EventReader, folded, too_many_parts
from openai_proxy.dialects.responses.memory import ReasoningMemory
from openai_proxy.dialects.responses.reasoning import detail_of, hosted_detail, thought_of
from openai_proxy.dialects.responses.response_object import chat_usage, new_id
from openai_proxy.errors import UpstreamInvalid

_NOT_DONE: Final = frozenset({"failed", "cancelled", "in_progress", "queued"})
_FINISH_OF_REASON: Final = {"content_filter": "content_filter"}
_TYPE_OF_CODE: Final = {
    "rate_limit_exceeded": "rate_limit_error",
    "insufficient_quota": "insufficient_quota",
    "invalid_prompt": "invalid_request_error",
    "context_length_exceeded": "invalid_request_error",
}


@dataclass(slots=True)
class _Item:
    """What has been received of one item of `output`."""

    kind: str = ""
    commentary: bool = False
    call: int = -1  # the index in tool_calls
    received: bool = False  # some of its text or arguments was received
    length: int = 0  # characters of its arguments so far
    summary: int = 0  # the current part of the summary
    source: str = ""  # which of the two forms of reasoning is shown
    done: bool = False


class ResponsesReader(EventReader):
    """See dialects.base.AnswerReader; `model` is used if the answer names none.

    The reasoning before calls is kept in `memory`.
    """

    def __init__(self, model: str, memory: ReasoningMemory | None = None) -> None:
        super().__init__()
        self._requested_model = model
        self._memory = memory
        self._call_ids: list[str] = []
        self._details: list[dict[str, Any]] = []
        self._id = ""
        self._model = model
        self._created = 0
        self._items: dict[Any, _Item] = {}
        self._calls = 0
        self._annotations = 0
        self._commentary: list[str] = []
        self._working = False  # the first `in_progress` was received
        self._answered = False  # there was content, a refusal or a call
        self._made: list[Chunk] = []
        self._readers: dict[str, Callable[[dict[str, Any]], None]] = {
            "response.output_text.delta": self._text,
            "response.output_item.added": self._added,
            "response.output_item.done": self._done_item,
            "response.refusal.delta": self._refusal,
            "response.function_call_arguments.delta": self._arguments,
            "response.function_call_arguments.done": self._arguments_done,
            "response.custom_tool_call_input.delta": self._arguments,
            "response.reasoning_summary_text.delta": self._summary,
            "response.reasoning_text.delta": self._thought,
            "response.output_text.annotation.added": self._annotation,
            "response.created": self._begin,
            "response.in_progress": self._progress,
            "keepalive": self._progress,
            "response.completed": self._end_of,
            "response.incomplete": self._end_of,
            "response.failed": self._failed,
            "response.cancelled": self._failed,
            "error": self._error,
        }

    def _event(self, event: Any, chunks: list[Chunk]) -> None:
        self._made = chunks
        try:
            reader = self._readers.get(event["type"])
            if reader is not None:  # new kinds of events appear all the time
                reader(event)
        except (KeyError, IndexError, TypeError, AttributeError):
            error = error_of(event)
            if error is None:
                raise UpstreamInvalid("The provider sent an event that is not understood.") from None
            self.ended = True
            chunks.append({"error": error})

    def _done(self, chunks: list[Chunk]) -> None:
        """`[DONE]` ends nothing here: only OpenRouter sends it, after the last event."""

    def completion(self, document: Any) -> dict[str, Any]:
        try:
            self._note_reported(document)
            if document["status"] not in ("completed", "incomplete"):
                return {"error": _error_object(document.get("error"))}
            self._made = []
            self._begin({"response": document})
            self._end_of({"response": document})
        except (KeyError, IndexError, TypeError, AttributeError):
            error = error_of(document)
            if error is None:
                raise UpstreamInvalid("The provider sent an answer that is not understood.") from None
            return {"error": error}
        completion = folded(self._made)
        completion["created"] = self._created
        completion["choices"][0]["message"].setdefault("refusal", None)
        return completion

    def _say(self, delta: dict[str, Any], logprobs: list[Any] | None = None, finish: str | None = None) -> None:
        if not self._id:
            self._begin({})
        self._made.append(chunk(self._id, self._model, delta, created=self._created, finish_reason=finish))
        if logprobs:
            self._made[-1]["choices"][0]["logprobs"] = {"content": logprobs, "refusal": None}

    def _begin(self, event: dict[str, Any]) -> None:
        if self._id:
            return
        response = event.get("response") or {}
        self.own.id = response.get("id")
        self._id = self.own.id or new_id("resp")
        self._model = response.get("model") or self._model
        created = response.get("created_at")
        self._created = int(created) if isinstance(created, int | float) else int(time.time())
        self._say({"role": "assistant", "content": ""})

    def _progress(self, event: dict[str, Any]) -> None:
        """Still working: the first one is part of the beginning."""
        if not self._id:
            self._begin(event)
        elif self._working:
            self._say({})
        self._working = True

    def _item(self, event: dict[str, Any]) -> _Item:
        key = event.get("output_index")
        item = self._items.get(key)
        if item is None:
            if len(self._items) >= MAX_PARTS:
                raise too_many_parts()
            item = self._items[key] = _Item()
        return item

    # --- events of items

    def _added(self, event: dict[str, Any]) -> None:
        self._know(self._item(event), event["item"])

    def _know(self, known: _Item, item: dict[str, Any]) -> None:
        """Determine the kind of item; a call's first chunk."""
        if known.kind:
            return
        kind = known.kind = item["type"]
        if kind == "message":
            known.commentary = item.get("phase") == "commentary"
        elif kind in ("function_call", "custom_tool_call"):
            known.call = self._calls
            self._calls += 1
            self._answered = True
            head: dict[str, Any] = {"index": known.call, "id": item.get("call_id") or item["id"]}
            self._call_ids.append(head["id"])
            if kind == "function_call":
                head |= {"type": "function", "function": {"name": item["name"], "arguments": ""}}
            else:
                head |= {"type": "custom", "custom": {"name": item["name"], "input": ""}}
            self._say({"tool_calls": [head]})

    def _text(self, event: dict[str, Any]) -> None:
        text = event["delta"]
        if not text:
            return
        item = self._items.get(event.get("output_index")) or self._item(event)
        item.received = True
        if item.commentary:
            self._comment(text)
            return
        self._answered = True
        self._say({"content": text}, event.get("logprobs"))

    def _comment(self, text: str) -> None:
        """Text before the actual answer, in which OpenAI's models may repeat it."""
        self._commentary.append(text)
        self._say({"reasoning_content": text})

    def _refusal(self, event: dict[str, Any]) -> None:
        self._item(event).received = True
        self._answered = True
        self._say({"refusal": event["delta"]})

    def _arguments(self, event: dict[str, Any]) -> None:
        piece = event["delta"]
        item = self._item(event)
        if piece and item.call >= 0 and not item.done:
            self._piece(item, piece)

    def _arguments_done(self, event: dict[str, Any]) -> None:
        self._rest(self._item(event), event.get("arguments"))

    def _rest(self, item: _Item, arguments: Any) -> None:
        """The part of `arguments` that no delta has delivered."""
        if item.call < 0 or not isinstance(arguments, str):
            return
        piece = arguments[item.length :]
        if piece:
            self._piece(item, piece)

    def _piece(self, item: _Item, piece: str) -> None:
        item.length += len(piece)
        custom = item.kind == "custom_tool_call"
        part = {"custom": {"input": piece}} if custom else {"function": {"arguments": piece}}
        self._say({"tool_calls": [{"index": item.call, **part}]})

    def _summary(self, event: dict[str, Any]) -> None:
        self._think(self._item(event), event["delta"], "summary", event.get("summary_index") or 0)

    def _thought(self, event: dict[str, Any]) -> None:
        self._think(self._item(event), event["delta"], "content", event.get("content_index") or 0)

    def _think(self, item: _Item, text: str, source: str, part: int) -> None:
        item.source = item.source or source
        if not text or item.source != source:
            return
        if part > item.summary:
            text = "\n\n" + text if item.received else text
            item.summary = part
        item.received = True
        self._say({"reasoning_content": text})

    def _annotation(self, event: dict[str, Any]) -> None:
        cited = event.get("annotation")
        if isinstance(cited, dict) and cited.get("type") == "url_citation":
            inner = {name: value for name, value in cited.items() if name != "type"}
            entry = {"index": self._annotations, "type": "url_citation", "url_citation": inner}
            self._annotations += 1
            self._say({"annotations": [entry]})

    def _done_item(self, event: dict[str, Any]) -> None:
        self._finish_item(self._item(event), event["item"])

    def _finish_item(self, known: _Item, item: dict[str, Any]) -> None:
        """A complete item: what its deltas lacked, and what must be returned in the next request."""
        if known.done:
            return
        self._know(known, item)
        known.done = True
        kind = known.kind
        if kind == "message":
            self._finish_message(known, item)
        elif kind == "function_call":
            arguments = item.get("arguments")
            whole = isinstance(arguments, str) and arguments.strip()
            self._rest(known, arguments if whole or known.length else "{}")
        elif kind == "custom_tool_call":
            self._rest(known, item.get("input"))
        elif kind == "reasoning":
            if not known.received:
                self._think(known, thought_of(item), "summary", 0)
            self._keep(detail_of(item, len(self._details), self._calls))
        else:
            self._keep(hosted_detail(item, len(self._details), self._calls))

    def _finish_message(self, known: _Item, item: dict[str, Any]) -> None:
        if known.received:
            return
        for part in item.get("content") or ():
            if part.get("type") == "refusal":
                self._answered = True
                self._say({"refusal": part.get("refusal") or ""})
            elif part.get("text"):
                if known.commentary:
                    self._comment(part["text"])
                    continue
                self._answered = True
                logprobs = part.get("logprobs")
                self._say({"content": part["text"]}, logprobs)
            for cited in part.get("annotations") or ():
                self._annotation({"annotation": cited})

    def _keep(self, detail: dict[str, Any]) -> None:
        self._details.append(detail)
        self._say({"reasoning_details": [detail]})

    # --- the end

    def _note_reported(self, response: dict[str, Any]) -> None:
        """Note the id, finish reason and usage that the response itself has."""
        details = response.get("incomplete_details")
        self.own.id = response.get("id") or self.own.id
        self.own.finish = details.get("reason") if isinstance(details, dict) else response.get("status")
        self.own.usage = response.get("usage")

    def _end_of(self, event: dict[str, Any]) -> None:
        response = event["response"]
        if response.get("status") in _NOT_DONE:
            self._failed(event)
            return
        self._note_reported(response)
        if not self._items:
            # A whole answer, or a stream that consisted only of its end.
            for index, item in enumerate(response.get("output") or ()):
                self._finish_item(self._item({"output_index": index}), item)
        self._finish_open(response.get("output") or [])
        self.ended = True
        if self._memory is not None:
            self._memory.keep(self._requested_model, self._call_ids, self._details)
        if not self._answered and self._commentary:
            self._say({"content": "".join(self._commentary)})
        finish = "tool_calls" if self._calls else "stop"
        if response.get("status") == "incomplete":
            reason = (response.get("incomplete_details") or {}).get("reason")
            finish = _FINISH_OF_REASON.get(str(reason), "length")
        self._say({}, finish=finish)
        last = self._made[-1]
        if response.get("service_tier"):
            last["service_tier"] = response["service_tier"]
        usage = chat_usage(response.get("usage"))
        if usage is not None:
            self._made.append({**last, "choices": [], "usage": usage})

    def _finish_open(self, output: list[dict[str, Any]]) -> None:
        """Items whose `.done` was missing, from the last event: some servers omit it."""
        for index, item in enumerate(output):
            known = self._items.get(index)
            if known is not None and not known.done and known.kind == item.get("type"):
                self._finish_item(known, item)

    def _failed(self, event: dict[str, Any]) -> None:
        response = event.get("response") or {}
        self._note_reported(response)
        self._fail(response.get("error"))

    def _error(self, event: dict[str, Any]) -> None:
        nested = event.get("error")
        self._fail(nested if isinstance(nested, dict) else event)

    def _fail(self, error: Any) -> None:
        self.ended = True
        self._made.append({"error": _error_object(error)})


def _error_object(error: Any) -> dict[str, Any]:
    """The chat API's error object for the `error` of a response, or an `error` event."""
    made = error_of({"error": error if isinstance(error, dict) else {"message": error}}) or {}
    if made["type"] in ("api_error", "error"):
        made["type"] = _TYPE_OF_CODE.get(str(made["code"]), "server_error")
    return made
