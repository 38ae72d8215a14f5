"""How each API says what a model said: one event of a stream, or the whole body, into a `RecordedAnswer`.

Only what a record holds is read, and nothing is required: an event of another shape adds nothing.
Sources: https://platform.openai.com/docs/api-reference/chat/streaming, …/completions, …/responses-streaming,
https://docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.dialects.chat.content import text_of
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.writing import textjson


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """One API. `event` folds one event of its stream, `whole` its JSON body. `chat`: it gets a conversation file."""

    event: Callable[[RecordedAnswer, Any], None]
    whole: Callable[[RecordedAnswer, Any], None]
    chat: bool = True
    bulk: bool = False  # events of the chat shape, which the stream reader may fold by template


def _common(answer: RecordedAnswer, event: dict[str, Any]) -> None:
    usage = event.get("usage")
    if not usage and isinstance(event.get("x_groq"), dict):
        usage = event["x_groq"].get("usage")  # Groq's streams: https://console.groq.com/docs/text-chat
    if usage and isinstance(usage, dict):
        answer.usage = usage
    error = event.get("error")
    if error:
        answer.error = error
    model = event.get("model")
    if model and answer.model is None and isinstance(model, str):
        answer.model = model
        if isinstance(event.get("id"), str):
            answer.id = event["id"]


# --- /chat/completions ------------------------------------------------------------------------------------------


def chat_event(answer: RecordedAnswer, event: Any) -> None:
    """One chat.completion.chunk. Any of them may carry usage (null or not), and a finish may come twice."""
    try:
        choices = event["choices"]
        if event.get("usage") or answer.model is None or not choices:
            _common(answer, event)
        for choice in choices:
            delta = choice.get("delta")
            if delta:
                text = delta.get("content")
                if text:
                    _add_content(answer, text)
                if len(delta) > 1 or not text:
                    _rest_of_delta(answer, choice.get("index") or 0, delta)
            finish = choice.get("finish_reason")
            if finish:
                answer.finish_reason = str(finish)
                _common(answer, event)
    except (KeyError, TypeError, AttributeError):
        # Not a chunk: an error event, or something we do not know.
        if isinstance(event, dict):
            _common(answer, event)


def _add_content(answer: RecordedAnswer, content: Any) -> None:
    if isinstance(content, str):
        answer.add_text(content)
    else:
        text, thought = text_of(content)  # a list of parts, as Mistral's thinking models send it
        answer.add_text(text)
        answer.add_reasoning(thought)


def _rest_of_delta(answer: RecordedAnswer, choice: int, delta: dict[str, Any]) -> None:
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if thought and isinstance(thought, str):
        answer.add_reasoning(thought)
    refusal = delta.get("refusal")
    if refusal and isinstance(refusal, str):
        answer.add_text(refusal)
    for call in delta.get("tool_calls") or ():
        _call_delta(answer, choice, call)
    legacy = delta.get("function_call")
    if legacy:
        _call_delta(answer, choice, {"index": 0, "function": legacy})


def _call_delta(answer: RecordedAnswer, choice: int, call: dict[str, Any]) -> None:
    # Without an index a new id begins a new call, and what has neither continues the last one.
    index = call.get("index")
    if index is None:
        known = answer.call(choice, call["id"]) if call.get("id") else answer.last_call()
    else:
        known = answer.call(choice, index)
    if call.get("id"):
        known["id"] = call["id"]
    function = call.get("function") or call.get("custom") or {}
    name = function.get("name")
    if name and not known["name"]:
        known["name"] = str(name)
    text = function.get("arguments") or function.get("input")
    if text:
        answer.add_arguments(known, text if isinstance(text, str) else str(text))


def chat_whole(answer: RecordedAnswer, body: Any) -> None:
    """A chat.completion: its messages are deltas that came at once."""
    if not isinstance(body, dict):
        return
    answer.complete = True
    _common(answer, body)
    choices = body.get("choices")
    for place, choice in enumerate(choices if isinstance(choices, list) else ()):
        try:
            message = choice["message"]
            text = message.get("content")
            if text:
                _add_content(answer, text)
            calls = message.get("tool_calls")
            if calls:
                message = {**message, "tool_calls": [{**call, "index": n} for n, call in enumerate(calls)]}
            _rest_of_delta(answer, place, message)
            if choice.get("finish_reason"):
                answer.finish_reason = str(choice["finish_reason"])
        except (KeyError, TypeError, AttributeError):
            answer.malformed += 1


# --- /completions -----------------------------------------------------------------------------------------------


def completion_event(answer: RecordedAnswer, event: Any) -> None:
    """One text_completion, whole or in part: both have the text in the same place."""
    if not isinstance(event, dict):
        return
    _common(answer, event)
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            if isinstance(choice.get("text"), str):
                answer.add_text(choice["text"])
            if choice.get("finish_reason"):
                answer.finish_reason = str(choice["finish_reason"])


def completion_whole(answer: RecordedAnswer, body: Any) -> None:
    """A whole text_completion."""
    answer.complete = True
    completion_event(answer, body)


# --- /responses -------------------------------------------------------------------------------------------------


def response_event(answer: RecordedAnswer, event: Any) -> None:
    """Only the last event is needed where it comes, since it holds the whole response; deltas serve a cut stream."""
    if not isinstance(event, dict):
        return
    kind = event.get("type")
    if kind == "response.output_text.delta" and isinstance(event.get("delta"), str):
        answer.add_text(event["delta"])
    elif kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
        if isinstance(event.get("delta"), str):
            answer.add_reasoning(event["delta"])
    elif kind == "response.output_item.done":
        _response_call(answer, event.get("item"))
    elif kind in ("response.completed", "response.incomplete", "response.failed"):
        answer.complete = True
        _response_frame(answer, event.get("response"))
    elif kind == "error":
        answer.error = event.get("error") or event


def _response_call(answer: RecordedAnswer, item: Any) -> None:
    if isinstance(item, dict) and item.get("type") == "function_call":
        call = answer.call(0, item.get("call_id") or item.get("id"))
        if not call["arguments"]:
            call["id"] = item.get("call_id")
            call["name"] = str(item.get("name") or "")
            answer.add_arguments(call, str(item.get("arguments") or ""))


def _response_frame(answer: RecordedAnswer, response: Any) -> None:
    if not isinstance(response, dict):
        return
    _common(answer, response)
    reason = response.get("incomplete_details")
    answer.finish_reason = (
        reason.get("reason") if isinstance(reason, dict) else str(response.get("status") or "") or None
    )


def response_whole(answer: RecordedAnswer, body: Any) -> None:
    """A whole response object."""
    if not isinstance(body, dict):
        return
    answer.complete = True
    _response_frame(answer, body)
    output = body.get("output")
    for item in output if isinstance(output, list) else ():
        if isinstance(item, dict):
            if item.get("type") == "message":
                answer.add_text(text_of(item.get("content"))[0])
            elif item.get("type") == "reasoning":
                answer.add_reasoning(text_of(item.get("summary"))[0])
            _response_call(answer, item)


# --- /messages --------------------------------------------------------------------------------------------------


def messages_event(answer: RecordedAnswer, event: Any) -> None:
    """One event of Anthropic's stream; usage comes in two halves, at the start and at the end."""
    if not isinstance(event, dict):
        return
    kind = event.get("type")
    if kind == "content_block_delta":
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return
        if isinstance(delta.get("text"), str):
            answer.add_text(delta["text"])
        elif isinstance(delta.get("thinking"), str):
            answer.add_reasoning(delta["thinking"])
        elif isinstance(delta.get("partial_json"), str):
            answer.add_arguments(answer.call(0, event.get("index")), delta["partial_json"])
    elif kind == "content_block_start":
        block = event.get("content_block")
        if isinstance(block, dict) and block.get("type") in ("tool_use", "server_tool_use"):
            call = answer.call(0, event.get("index"))
            call["id"], call["name"] = block.get("id"), str(block.get("name") or "")
    elif kind == "message_start" and isinstance(event.get("message"), dict):
        _common(answer, event["message"])
    elif kind == "message_delta":
        delta = event.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason"):
            answer.finish_reason = str(delta["stop_reason"])
        if isinstance(event.get("usage"), dict):
            answer.usage = {**(answer.usage or {}), **event["usage"]}
    elif kind == "message_stop":
        answer.complete = True
    elif kind == "error":
        answer.error = event.get("error") or event


def messages_whole(answer: RecordedAnswer, body: Any) -> None:
    """A whole Anthropic message."""
    if not isinstance(body, dict):
        return
    answer.complete = True
    _common(answer, body)
    if body.get("stop_reason"):
        answer.finish_reason = str(body["stop_reason"])
    content = body.get("content")
    for place, block in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(block, dict):
            continue
        if isinstance(block.get("text"), str):
            answer.add_text(block["text"])
        elif isinstance(block.get("thinking"), str):
            answer.add_reasoning(block["thinking"])
        elif block.get("type") == "tool_use":
            call = answer.call(0, place)
            call["id"], call["name"] = block.get("id"), str(block.get("name") or "")
            answer.add_arguments(call, textjson.line(block.get("input") or {}).decode().rstrip())


# --- everything else that tells usage ---------------------------------------------------------------------------


def usage_only(answer: RecordedAnswer, body: Any) -> None:
    """Embeddings, images, transcriptions: nothing to read but what it cost."""
    if isinstance(body, dict):
        _common(answer, body)


CHAT: Final = AnswerFormat(chat_event, chat_whole, bulk=True)
DIALECTS: Final[dict[str, AnswerFormat]] = {
    "/chat/completions": CHAT,
    "/completions": AnswerFormat(completion_event, completion_whole),
    "/responses": AnswerFormat(response_event, response_whole),
    "/messages": AnswerFormat(messages_event, messages_whole),
}
METERED: Final = AnswerFormat(usage_only, usage_only, chat=False)
"""Any other path: no conversation, and of its answer only the usage."""
