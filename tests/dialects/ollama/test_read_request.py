"""Requests to Ollama's API as chat requests."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.ollama.dialect import DIALECT
from openai_proxy.errors import BadRequest
from tests.dialects.odd import documents

USER = {"role": "user", "content": "hi"}
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def read(path: str = "/api/chat", **members: Any) -> IncomingRequest:
    messages = {} if path != "/api/chat" or "messages" in members else {"messages": [USER]}
    return DIALECT.read_request(path, {"model": "m", **messages, **members})


def chat(**members: Any) -> dict[str, Any]:
    return read(**members).chat


def test_a_plain_request_streams_and_requests_usage() -> None:
    assert chat() == {
        "model": "m",
        "messages": [USER],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "stream" not in chat(stream=False)


def test_options_become_parameters_and_whole_floats_integers() -> None:
    options = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 40.0, "min_p": 0.1, "seed": 7.0, "num_predict": 99.0,
        "presence_penalty": 1, "frequency_penalty": -1, "stop": ["a"], "num_ctx": 8192.0, "repeat_penalty": 1.1,
        "mirostat": None,
    }  # fmt: skip
    made = chat(options=options)
    assert made["max_tokens"] == 99
    assert isinstance(made["max_tokens"], int)
    assert (made["temperature"], made["top_p"], made["top_k"], made["min_p"], made["seed"]) == (0.5, 0.9, 40, 0.1, 7)
    assert (made["presence_penalty"], made["frequency_penalty"], made["stop"]) == (1, -1, ["a"])
    assert made["options"] == {"num_ctx": 8192.0, "repeat_penalty": 1.1}


def test_options_that_mean_the_default_are_omitted() -> None:
    made = chat(options={"num_predict": -1, "seed": -1, "stop": []})
    assert not made.keys() & {"max_tokens", "seed", "stop", "options"}


@pytest.mark.parametrize(
    ("think", "effort"), [(True, "medium"), (False, "none"), ("low", "low"), ("high", "high"), ("max", "max")]
)
def test_think_becomes_an_effort(think: Any, effort: str) -> None:
    made = chat(think=think)
    assert (made["reasoning_effort"], made["think"]) == (effort, think)


def test_formats() -> None:
    assert chat(format="json")["response_format"] == {"type": "json_object"}
    assert "response_format" not in chat(format="")
    closed = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    loose = chat(format=closed)["response_format"]["json_schema"]
    assert loose == {"name": "answer", "schema": closed, "strict": False}
    assert chat(format={**closed, "additionalProperties": False})["response_format"]["json_schema"]["strict"] is True


def test_home_assistants_tool_history_is_matched_in_order() -> None:
    call = {"function": {"name": "HassTurnOn", "arguments": {"name": "lamp"}}}
    other = {"function": {"name": "HassTurnOff", "arguments": {}}}
    messages = [
        {"role": "System", "content": "s"},
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call, other]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "done"},
    ]
    made = chat(messages=messages)["messages"]
    assert made[0]["role"] == "system"
    ids = [entry["id"] for entry in made[2]["tool_calls"]]
    assert made[2]["content"] is None
    assert made[2]["tool_calls"][0]["function"] == {"name": "HassTurnOn", "arguments": '{"name":"lamp"}'}
    assert [made[3]["tool_call_id"], made[4]["tool_call_id"]] == ids
    assert made == chat(messages=messages)["messages"]


def test_results_by_name_and_by_id() -> None:
    calls = [{"id": "x1", "function": {"name": "f", "arguments": {}}}, {"function": {"name": "g", "arguments": {}}}]
    messages = [
        USER,
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "content": "g", "tool_name": "g"},
        {"role": "tool", "content": "f", "tool_call_id": "x1"},
    ]
    made = chat(messages=messages)["messages"]
    assert [made[2]["tool_call_id"], made[3]["tool_call_id"]] == [made[1]["tool_calls"][1]["id"], "x1"]


def test_images_and_audio_by_their_first_bytes() -> None:
    wave = "UklGRiQAAABXQVZFZm10IA=="
    made = chat(
        messages=[{"role": "user", "content": "what?", "images": [PNG, "/9j/4AAQ", wave, "data:image/gif;base64,R0"]}]
    )
    parts = made["messages"][0]["content"]
    assert parts[0] == {"type": "text", "text": "what?"}
    assert parts[1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert parts[2]["image_url"]["url"].startswith("data:image/jpeg;")
    assert parts[3] == {"type": "input_audio", "input_audio": {"data": wave, "format": "wav"}}
    assert parts[4]["image_url"]["url"] == "data:image/gif;base64,R0"


def test_thinking_of_earlier_turns_is_included() -> None:
    made = chat(messages=[USER, {"role": "assistant", "content": "x", "thinking": "hm"}, USER])
    assert made["messages"][1] == {"role": "assistant", "content": "x", "reasoning_content": "hm"}


def test_members_without_an_equivalent_are_named() -> None:
    assert read(truncate=True, shift=False).dropped == ("truncate", "shift")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "", "images": ["AAAA"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function.name"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"tools": "x"}, "tools"),
        ({"tools": [{}]}, "tools[0].function.name"),
        ({"options": []}, "options"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"num_predict": 1.5}}, "options.num_predict"),
        ({"options": {"stop": 1}}, "options.stop"),
        ({"format": "yaml"}, "format"),
        ({"think": "hard"}, "think"),
        ({"keep_alive": []}, "keep_alive"),
    ],
)
def test_a_member_of_a_wrong_type_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**members)
    assert caught.value.param == param
    told = orjson.loads(DIALECT.error_body(400, caught.value.payload()["error"]))["error"]
    assert told.endswith(caught.value.message)
    assert param in told, "an error of Ollama is only a text, which must name the member"


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(
    ("keep_alive", "reason"), [(None, "load"), (-1, "load"), ("5m", "load"), (0, "unload"), ("0", "unload")]
)
def test_an_empty_prompt_only_loads_the_model(path: str, keep_alive: Any, reason: str) -> None:
    answer = orjson.loads(DIALECT.read_request(path, {"model": "m", "keep_alive": keep_alive}).answer or b"")
    assert (answer["model"], answer["done"], answer["done_reason"]) == ("m", True, reason)
    assert answer.get("response") == ("" if path == "/api/generate" else None)


def test_generate_is_a_conversation_of_one() -> None:
    made = read("/api/generate", prompt="hi", system="be short", images=[PNG], keep_alive="5m").chat
    assert made["messages"][0] == {"role": "system", "content": "be short"}
    assert [part["type"] for part in made["messages"][1]["content"]] == ["text", "image_url"]
    assert made["keep_alive"] == "5m"


@pytest.mark.parametrize(("name", "value"), [("suffix", "}"), ("raw", True)])
def test_generate_refuses_members_that_would_change_the_meaning(name: str, value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read("/api/generate", prompt="hi", **{name: value})
    assert caught.value.param == name


def test_a_context_of_ours_is_the_conversation_and_any_other_is_dropped() -> None:
    first = read("/api/generate", prompt="My name is Bo.", stream=False)
    writer = DIALECT.write_answer(first, "m")
    answer = writer.whole({"choices": [{"message": {"content": "Hello ☺"}, "finish_reason": "stop"}]})
    context = orjson.loads(answer)["context"]
    assert all(isinstance(number, int) for number in context)
    second = read("/api/generate", prompt="My name?", context=context, system="s")
    assert second.chat["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "My name is Bo."},
        {"role": "assistant", "content": "Hello ☺"},
        {"role": "user", "content": "My name?"},
    ]
    assert second.dropped == ()
    for foreign in (
        [1, 2, 3],
        context[:-4],
        [context[0]],
        [context[0], "x"],
        [context[0], -1],
        "x",
        [context[0], 2**30],
    ):
        assert read("/api/generate", prompt="x", context=foreign).dropped == ("context",)


def test_embeddings() -> None:
    one = read("/api/embed", input="a", dimensions=3, truncate=True)
    assert one.path == "/embeddings"
    assert one.chat == {"model": "m", "input": ["a"], "encoding_format": "float", "dimensions": 3}
    assert one.dropped == ("truncate",)
    assert read("/api/embed", input=["a", "b"]).chat["input"] == ["a", "b"]
    assert orjson.loads(read("/api/embed", input=[]).answer or b"") == {"model": "m", "embeddings": []}
    assert read("/api/embeddings", prompt="a").chat["input"] == ["a"]
    assert read("/api/embeddings").answer == b'{"embedding":[]}'
    for path, members, param in (("/api/embed", {"input": [1]}, "input"), ("/api/embeddings", {"prompt": 1}, "prompt")):
        with pytest.raises(BadRequest) as caught:
            read(path, **members)
        assert caught.value.param == param


@given(documents("messages", "tools", "options", "format", "think", "prompt", "images", "context", "input", "stream"))
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    for path in ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"):
        try:
            made = DIALECT.read_request(path, document)
        except BadRequest:
            continue
        orjson.dumps(made.chat)
