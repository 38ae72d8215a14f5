"""How Ollama's API and Gemini's say what a model said; and which endpoint's answers are read in which way.

Sources: https://docs.ollama.com/api/chat, https://ai.google.dev/api/generate-content#GenerateContentResponse.
"""

from typing import Any, Final

from openai_proxy.endpoints import Endpoint
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.answer_formats import DIALECTS, METERED, AnswerFormat
from openai_proxy.records.writing import textjson

# --- Ollama: every line of a stream, and a whole answer, have the same members -----------------------------------


def ollama_line(answer: RecordedAnswer, line: Any) -> None:
    """One object: a piece of an answer, or all of it."""
    if not isinstance(line, dict):
        return
    if line.get("error"):
        answer.error = line["error"]
        return
    message = line.get("message")
    message = message if isinstance(message, dict) else line
    for text in (message.get("content"), message.get("response")):
        if text and isinstance(text, str):
            answer.add_text(text)
    if message.get("thinking") and isinstance(message["thinking"], str):
        answer.add_reasoning(message["thinking"])
    for call in message.get("tool_calls") or ():
        _ollama_call(answer, call)
    if answer.model is None and isinstance(line.get("model"), str):
        answer.model = line["model"]
    if line.get("done") is True:
        answer.complete = True
        answer.finish_reason = str(line.get("done_reason") or "stop")
    prompt, written = line.get("prompt_eval_count"), line.get("eval_count")
    if prompt is not None or written is not None:
        answer.usage = {"prompt_tokens": prompt, "completion_tokens": written}


def _ollama_call(answer: RecordedAnswer, call: Any) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if isinstance(function, dict):
        _call(answer, call.get("id"), function.get("name"), function.get("arguments"))


# --- Gemini ------------------------------------------------------------------------------------------------------


def gemini_event(answer: RecordedAnswer, event: Any) -> None:
    """One GenerateContentResponse; the candidates of the last one say why they ended."""
    if not isinstance(event, dict):
        return
    if event.get("error"):
        answer.error = event["error"]
        return
    if answer.model is None and isinstance(event.get("modelVersion"), str):
        answer.model = event["modelVersion"]
        answer.id = event["responseId"] if isinstance(event.get("responseId"), str) else None
    usage = event.get("usageMetadata")
    if isinstance(usage, dict):
        answer.usage = _gemini_usage(usage)
    for candidate in event.get("candidates") or ():
        content = candidate.get("content") if isinstance(candidate, dict) else None
        for part in (content.get("parts") if isinstance(content, dict) else None) or ():
            _gemini_part(answer, part)
        if isinstance(candidate, dict) and candidate.get("finishReason"):
            answer.complete = True
            answer.finish_reason = str(candidate["finishReason"])


def _gemini_part(answer: RecordedAnswer, part: Any) -> None:
    if not isinstance(part, dict):
        return
    text, call = part.get("text"), part.get("functionCall")
    if text and isinstance(text, str):
        (answer.add_reasoning if part.get("thought") is True else answer.add_text)(text)
    if isinstance(call, dict):
        _call(answer, call.get("id"), call.get("name"), call.get("args"))


def _gemini_usage(usage: dict[str, Any]) -> dict[str, Any]:
    written, thought = usage.get("candidatesTokenCount") or 0, usage.get("thoughtsTokenCount") or 0
    whole = isinstance(written, int) and isinstance(thought, int)
    return {
        "prompt_tokens": usage.get("promptTokenCount"),
        "completion_tokens": written + thought if whole else None,
        "prompt_tokens_details": {"cached_tokens": usage.get("cachedContentTokenCount")},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def gemini_whole(answer: RecordedAnswer, body: Any) -> None:
    """One object, or the array that a stream is without `alt=sse`."""
    for event in body if isinstance(body, list) else [body]:
        gemini_event(answer, event)


def _call(answer: RecordedAnswer, call_id: Any, name: Any, arguments: Any) -> None:
    call = answer.call(0, len(answer.tool_calls))
    call["id"] = call_id
    call["name"] = str(name or "")
    answer.add_arguments(call, textjson.line(arguments or {}).decode().rstrip())


_TALK: Final = {"ollama": AnswerFormat(ollama_line, ollama_line), "gemini": AnswerFormat(gemini_event, gemini_whole)}
_OTHER: Final = {"ollama": AnswerFormat(ollama_line, ollama_line, chat=False)}


def format_of(endpoint: Endpoint) -> AnswerFormat:
    """How the answers of `endpoint` are read; METERED for those of which only the usage is."""
    found = DIALECTS.get(endpoint.path)
    if found is None:
        found = (_TALK if endpoint.generates else _OTHER).get(endpoint.dialect)
    return found or METERED
