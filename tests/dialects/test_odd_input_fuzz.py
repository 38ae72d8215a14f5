"""Whatever a client or a provider sends, translators raise only our own errors."""

import contextlib
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_proxy.dialects.base import Lesson
from openai_proxy.dialects.chat.google.repair import StreamRepair
from openai_proxy.dialects.chat.google.request import adapt
from openai_proxy.dialects.chat.google.signatures import Signatures
from openai_proxy.dialects.chat.read_answer import ChatReader
from openai_proxy.dialects.chat.write_answer import ChatWriter
from openai_proxy.dialects.messages.read_answer import MessagesReader
from openai_proxy.dialects.messages.read_request import to_chat
from openai_proxy.dialects.messages.write_answer import MessagesWriter
from openai_proxy.dialects.messages.write_request import to_messages
from openai_proxy.errors import BadRequest, UpstreamError

NAMES = st.sampled_from(
    [
        "type",
        "text",
        "content",
        "role",
        "user",
        "assistant",
        "tool",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "delta",
        "choices",
        "usage",
        "message",
        "content_block",
        "content_block_start",
        "content_block_delta",
        "message_start",
        "tool_use",
        "tool_result",
        "thinking",
        "source",
        "image",
        "tools",
        "messages",
        "error",
        "system",
        "input_json_delta",
        "text_delta",
        "partial_json",
        "reasoning_details",
        "finish_reason",
        "stop",
        "extra_content",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=False, allow_infinity=False) | NAMES
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=15
)
MEMBERS = [
    "messages",
    "system",
    "tools",
    "tool_choice",
    "max_tokens",
    "stop",
    "response_format",
    "reasoning_effort",
    "thinking",
    "output_config",
    "metadata",
    "stream",
    "stream_options",
    "temperature",
    "cache_control",
    "user",
    "service_tier",
]
BODY = st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, ANY))
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": ANY},
    optional={"tool_calls": ANY, "reasoning_details": ANY},
)
TURNS = st.lists(TURN, min_size=1, max_size=3)
EVENT_MEMBERS = ["type", "index", "delta", "content_block", "message", "choices", "usage", "error"]
EVENTS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(EVENT_MEMBERS, ANY)) | ANY, max_size=5)


@settings(max_examples=50)
@given(BODY, TURNS, st.booleans())
def test_odd_requests_are_400s_or_valid_json(body: dict[str, Any], turns: Any, sound: bool):
    request = {"model": "m", "messages": turns, **({} if sound else body)}
    for translate in (to_messages, to_chat):
        with contextlib.suppress(BadRequest):
            translate(request)
    adapt(request, Lesson(frozenset({"tools[].function.strict"})), Signatures()).as_json()


@settings(max_examples=50)
@given(EVENTS)
def test_odd_streams_are_errors_of_ours_or_events(payloads: list[Any]):
    data = b"".join(b"data: " + orjson.dumps(payload) + b"\n\n" for payload in payloads)
    for reader in (MessagesReader("m"), ChatReader()):
        writers = MessagesWriter("m"), ChatWriter()
        with contextlib.suppress(UpstreamError):
            for chunk in [*reader.feed(data), *reader.end()]:
                for writer in writers:
                    writer.error(chunk["error"]) if "error" in chunk else writer.chunk(chunk)
            for writer in writers:
                writer.end()
    repair = StreamRepair(Signatures())
    repair.feed(data)
    repair.end()
