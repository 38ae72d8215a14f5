"""The cost of translating one event of a stream between the chat API and another one, both ways, without I/O.

The best of many rounds, in CPU time of this process: other work on the machine shall not count.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from openai_proxy.dialects import client_dialect, dialect
from openai_proxy.dialects.base import Lessons
from tests.bench.lab import Lab
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "translation"
HELP = "each API to chat chunks and back: CPU time an event"
EVENTS = 400
GOAL = 6.0  # µs


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    if not any(subject.name == "ours" for subject in subjects):
        return []
    rounds = 20 if lab.quick else 100
    rows: list[Row] = []
    for name, word, events in (
        ("chat", "chat", list(chat_stream())),
        ("messages", "Messages", list(messages_stream())),
        ("responses", "Responses", list(responses_stream())),
        ("ollama", "Ollama", list(ollama_stream())),
        ("gemini", "Gemini", None),  # no provider has this API
    ):
        measured = [(f"chunk written as a {word} event", writing(name))]
        if events is not None:
            measured.insert(0, (f"{word} event read as a chunk", reading(name, events)))
        rows += [Row(text, "µs", {"ours": best(work, rounds)}, (Goal("<=", GOAL),)) for text, work in measured]
    return rows


def reading(name: str, events: Sequence[bytes]) -> Callable[[], None]:
    """Work that reads `events` in the dialect `name`."""
    spoken = dialect(name)
    question = spoken.write_request({"model": "m", "messages": [{"role": "user", "content": "x"}]}, Lessons())

    def read() -> None:
        reader = spoken.read_answer(question)
        for event in events:
            reader.feed(event)

    return read


def writing(name: str) -> Callable[[], None]:
    """Work that writes as many chunks in the dialect `name`."""
    spoken = client_dialect(name)
    asked = spoken.read_request(*REQUESTS[name])
    chat = dialect("chat")
    reader = chat.read_answer(chat.write_request({"model": "m", "messages": []}, Lessons()))
    chunks = [chunk for event in chat_stream() for chunk in reader.feed(event)]

    def write() -> None:
        writer = spoken.write_answer(asked, "m")
        for chunk in chunks:
            writer.chunk(chunk)
        writer.end()

    return write


USER = [{"role": "user", "content": "x"}]
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/chat/completions", {"model": "m", "messages": USER, "stream": True}),
    "messages": ("/messages", {"model": "m", "max_tokens": 9, "messages": USER, "stream": True}),
    "responses": ("/responses", {"model": "m", "input": "x", "stream": True}),
    "ollama": ("/api/chat", {"model": "m", "messages": USER, "stream": True}),
    "gemini": ("/models/m:streamGenerateContent", {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
}


def best(work: Callable[[], None], rounds: int) -> float:
    """Microseconds per event in the best of `rounds`."""
    least = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least / EVENTS * 1e6


def chat_stream() -> Sequence[bytes]:
    """A stream as OpenAI writes it."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "fp"}
    choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
    event = {**head, "choices": [choice], "usage": None, "obfuscation": "x" * 11}
    return [b"data: %b\n\n" % orjson.dumps(event)] * EVENTS


def messages_stream() -> Sequence[bytes]:
    """A stream as Anthropic writes it."""
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    found = [{"type": "message_start", "message": {"id": "m", "model": "m"}}, block, *[delta] * EVENTS]
    return [b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(event)) for event in found]


def ollama_stream() -> Sequence[bytes]:
    """A stream as Ollama writes it: one line per chunk."""
    made = {"model": "m", "created_at": "2026-11-29T12:00:00.123456789Z"}
    line = {**made, "message": {"role": "assistant", "content": " word"}, "done": False}
    return [orjson.dumps(line) + b"\n"] * EVENTS


def responses_stream() -> Sequence[bytes]:
    """A stream as OpenAI writes it: one event per piece, text deltas of a word with padding."""
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress"}
    item = {"id": "msg_1", "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    found: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
    ]
    found += [
        {"type": "response.output_text.delta", "delta": " word", "obfuscation": "x" * 11, **at} for _ in range(EVENTS)
    ]
    found.append({"type": "response.completed", "response": {**response, "status": "completed", "output": []}})
    return [
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps({**event, "sequence_number": number}))
        for number, event in enumerate(found)
    ]
