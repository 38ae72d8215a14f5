"""What refusals teach. The messages are those of real providers, from bug reports."""

from typing import Any

import orjson
import pytest

from openai_proxy.dialects.base import Lesson
from openai_proxy.dialects.chat.write_request import learnt
from openai_proxy.dialects.derived import Derived
from openai_proxy.dialects.lessons import lesson_from

USER = {"role": "user", "content": "hi"}


def request(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **more}


def refused(*names: str) -> Lesson:
    return Lesson(refused=frozenset(names))


def openai(message: str, **more: Any) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": "invalid_request_error", "param": None, **more}})


def extra(*loc: Any) -> dict[str, Any]:
    return {"type": "extra_forbidden", "loc": ["body", *loc], "msg": "Extra inputs are not permitted", "input": 1}


SPEAK = request(temperature=0.5, max_tokens=9, user="u" * 99, seed=1, reasoning_effort="low", parallel_tool_calls=True,
                stream_options={}, presence_penalty=1)  # fmt: skip
STRICT = request(tools=[{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}])

ENUM = request(tools=[{"type": "function", "function": {"name": "f", "parameters": {
    "type": "object", "properties": {"x": {"type": "integer", "enum": [1, 2]}}}}}])  # fmt: skip
CALLED = request(messages=[USER, {"role": "assistant", "content": None, "tool_calls": [
    {"id": "c" * 50, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c" * 50, "content": "r"}])  # fmt: skip
DERIVED = request(reasoning_effort=Derived("none"), seed=1)
LACKS_NONE = Lesson(unfit=frozenset({"reasoning_effort=none"}))

LESSONS: list[tuple[int, bytes, dict[str, Any], Lesson]] = [
    (400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
                 " instead.", param="max_tokens", code="unsupported_parameter"), SPEAK,
     Lesson(renamed={"max_tokens": "max_completion_tokens"})),
    (400, openai("Unrecognized request argument supplied: max_completion_tokens"), request(max_completion_tokens=9),
     Lesson(renamed={"max_completion_tokens": "max_tokens"})),
    (400, openai("Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is"
                 " supported.", param="temperature", code="unsupported_value"), SPEAK, refused("temperature")),
    (400, openai("Unsupported parameter: 'reasoning_effort' is not supported with this model.",
                 param="reasoning_effort", code="unsupported_parameter"), SPEAK, refused("reasoning_effort")),
    (400, openai("Unknown parameter: 'stream_options'.", code="unknown_parameter", param="stream_options"), SPEAK,
     refused("stream_options")),
    (400, openai("Unrecognized request arguments supplied: parallel_tool_calls, seed"), SPEAK,
     refused("parallel_tool_calls", "seed")),  # Azure
    (400, openai("Invalid 'user': string too long. Expected a string with maximum length 64, but got a string with"
                 " length 99 instead.", param="user", code="string_above_max_length"), SPEAK,
     Lesson(lengths={"user": 64})),
    (400, openai("Unsupported value: 'messages[0].role' does not support 'developer' with this model.",
                 param="messages[0].role", code="unsupported_value"),
     request(messages=[{"role": "developer", "content": "x"}, USER]), Lesson(roles={"developer": "system"})),
    (422, openai("messages[0].role: unknown variant `developer`, expected one of `system`, `user`"),  # DeepSeek
     request(messages=[{"role": "developer", "content": "x"}, USER]), Lesson(roles={"developer": "system"})),
    (400, openai("Developer instruction is not enabled for models/gemma-3-27b-it"),
     request(messages=[{"role": "system", "content": "x"}, USER]),
     Lesson(roles={"system": "user", "developer": "user"})),
    (422, orjson.dumps({"detail": [extra("stream_options")]}), SPEAK, refused("stream_options")),  # FastAPI
    (422, orjson.dumps({"object": "error", "message": {"detail": [extra("parallel_tool_calls")]}}), SPEAK,
     refused("parallel_tool_calls")),  # Mistral
    (400, openai("property 'messages.0.reasoning_content' is unsupported"),
     request(messages=[{**USER, "reasoning_content": "r"}]), refused("messages[].reasoning_content")),  # Groq
    (400, openai("tools.0.function.strict: Extra inputs are not permitted"), STRICT,
     refused("tools[].function.strict")),
    (400, openai("Argument not supported on this model: presencePenalty"), SPEAK, refused("presence_penalty")),  # xAI
    (400, openai("Model m does not support parameter reasoningEffort."), SPEAK, refused("reasoning_effort")),  # xAI
    (400, openai("`temperature` is deprecated for this model."), SPEAK, refused("temperature")),  # Anthropic
    (400, orjson.dumps([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
                         "Invalid JSON payload received. Unknown name \"seed\": Cannot find field.\nUnknown name "
                         "\"strict\" at 'tools[0].function': Cannot find field."}}]),
     {**STRICT, "seed": 1}, refused("seed", "tools[].function.strict")),  # Google
    (400, openai('* GenerateContentRequest.tools[0].function_declarations[0].parameters.properties[x].enum: only'
                 " allowed for STRING type"), ENUM, Lesson(schema="gemini")),  # Gemini, behind OpenRouter
    (404, openai("This model is only supported in v1/responses and not in v1/chat/completions.", param="model"), SPEAK,
     Lesson(api="responses")),
    (404, openai("This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to"
                 " use v1/completions?", param="model"), SPEAK, Lesson(api="responses")),
    (400, openai("gpt-5.4 with this effort is not supported in /v1/chat/completions. Please use /v1/responses"
                 " instead."), SPEAK, Lesson(api="responses")),
    (400, openai("Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40,"
                 " but got a string with length 50 instead.", param="messages[1].tool_calls[0].id"), CALLED,
     Lesson(lengths={"tool_call_id": 40})),
    (400, openai("Tool call id was cccc but must be a-z, A-Z, 0-9, with a length of 9."), CALLED,
     Lesson(lengths={"tool_call_id": 9})),
    (400, openai("Function tools with reasoning_effort are not supported for gpt-6 in /v1/chat/completions. To use"
                 " function tools, use /v1/responses or set reasoning_effort to 'none'."), SPEAK,
     Lesson(tools_api="responses")),
    (400, openai("Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are:"
                 " 'low' and 'high'.", param="reasoning_effort", code="unsupported_value"), DERIVED, LACKS_NONE),
    (400, openai("Unsupported value: 'none' is not supported with the 'gpt-6' model.", param="reasoning.effort"),
     {"model": "m", "input": [], "reasoning": {"effort": Derived("none"), "summary": "auto"}}, LACKS_NONE),
    (422, orjson.dumps({"detail": [{"type": "literal_error", "loc": ["body", "reasoning_effort"], "input": "none",
                                    "msg": "Input should be 'low' or 'high'"}]}), DERIVED, LACKS_NONE),  # vLLM
    (400, openai("Function tools with reasoning_effort are not supported for gpt-5.5 in /v1/chat/completions. Please"
                 " use /v1/responses instead."), SPEAK, Lesson(tools_api="responses")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "asked", "lesson"), LESSONS)
def test_a_refused_parameter_is_learnt(status: int, body: bytes, asked: dict[str, Any], lesson: Lesson):
    assert lesson_from(status, body, asked) == lesson


@pytest.mark.parametrize(
    ("status", "body", "asked"),
    [
        # values, which the caller must fix
        (400, openai("Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 9 instead.",
                     param="temperature", code="decimal_above_max_value"), SPEAK),
        (400, openai("Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. Supported"
                     " values are: 'low'.", param="reasoning_effort", code="unsupported_value"), SPEAK),
        (400, openai("max_tokens is too large: 99999. This model supports at most 16384 completion tokens."), SPEAK),
        # members that must not be omitted
        (400, openai("Unknown parameter: 'tools'."), STRICT),
        (400, openai("Unsupported parameter: 'response_format' is not supported with this model."),
         request(response_format={"type": "json_object"})),
        (400, openai("Unknown parameter: 'messages'."), SPEAK),
        # members that were not in the request
        (400, openai("Unknown parameter: 'logprobs'."), SPEAK),
        (400, openai("Unsupported value: 'messages[0].role' does not support 'developer'."), SPEAK),
        # other errors
        (429, openai("Unknown parameter: 'seed'."), SPEAK),
        (500, openai("Unknown parameter: 'seed'."), SPEAK),
        (400, b"<html>", SPEAK), (400, b"[]", SPEAK), (400, b'"text"', SPEAK), (400, b'{"error": 5}', SPEAK),
        (404, openai("The model 'm' does not exist."), SPEAK),
        # an error that quotes the caller
        (400, openai("Invalid value: 'see https://api.example/v1/responses'."), SPEAK),
        (400, openai("Invalid 'seed': not a number."), DERIVED),
    ],
)  # fmt: skip
def test_other_errors_are_passed_to_the_caller(status: int, body: bytes, asked: dict[str, Any]):
    assert lesson_from(status, body, asked) is None


@pytest.mark.parametrize(("status", "body", "asked", "lesson"), LESSONS)
def test_lessons_change_the_next_request(status: int, body: bytes, asked: dict[str, Any], lesson: Lesson):
    edits = learnt(asked, lesson)
    if lesson.api is not None or lesson.tools_api is not None:
        assert not edits
        return
    again = edits.applied(asked)
    assert again != asked
    assert lesson_from(status, body, again) is None  # in this form the request is not refused for the same reason


def test_a_renamed_member_keeps_its_value_and_a_callers_own_one_wins():
    lesson = Lesson(renamed={"max_tokens": "max_completion_tokens"})
    assert learnt(request(max_tokens=9), lesson).applied(request(max_tokens=9)) == request(max_completion_tokens=9)
    both = request(max_tokens=9, max_completion_tokens=5)
    assert learnt(both, lesson).applied(both) == request(max_completion_tokens=5)


def test_two_long_users_stay_distinct():
    lesson = Lesson(lengths={"user": 64})
    users = [learnt(request(user=name * 99), lesson).replace["user"] for name in "ab"]
    assert users[0] != users[1]
    assert max(map(len, users)) <= 64
    assert not learnt(request(user="short"), lesson)


def test_a_clients_own_value_is_kept():
    asked = request(reasoning_effort="none")
    assert not learnt(asked, LACKS_NONE)
    assert not learnt(request(reasoning_effort=Derived("low")), LACKS_NONE)
    assert learnt(DERIVED, LACKS_NONE).applied(DERIVED) == request(seed=1)


@pytest.mark.parametrize("length", [40, 9])
def test_a_call_and_its_result_get_the_same_fitting_id(length: int):
    _, asked, answered = learnt(CALLED, Lesson(lengths={"tool_call_id": length})).applied(CALLED)["messages"]
    fit = asked["tool_calls"][0]["id"]
    assert answered["tool_call_id"] == fit
    assert len(fit) == length
    assert not learnt(request(messages=[USER, asked, answered]), Lesson(lengths={"tool_call_id": length}))
