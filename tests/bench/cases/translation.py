"""What it costs to translate one event of a stream between the chat API and another one, each way, without I/O.

The best of many rounds, in CPU time of this process: other work on the machine shall not count.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from openai_proxy.dialects import dialect
from openai_proxy.dialects.base import Lessons
from tests.bench.lab import Lab
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "translation"
HELP = "Responses API to chat chunks and back: CPU time an event"
EVENTS = 400
GOAL = 6.0  # µs


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    if not any(subject.name == "ours" for subject in subjects):
        return []
    rounds = 20 if lab.quick else 100
    responses = dialect("responses")
    question = responses.write_request({"model": "m", "messages": [{"role": "user", "content": "x"}]}, Lessons())
    asked = responses.read_request("/responses", {"model": "m", "input": "x", "stream": True})
    events = list(stream())
    first = responses.read_answer(question)
    chunks = [chunk for event in events for chunk in first.feed(event)]

    def read() -> None:
        reader = responses.read_answer(question)
        for event in events:
            reader.feed(event)

    def write() -> None:
        writer = responses.write_answer(asked, "m")
        for chunk in chunks:
            writer.chunk(chunk)
        writer.end()

    return [
        Row("Responses event read as a chunk", "µs", {"ours": best(read, rounds)}, (Goal("<=", GOAL),)),
        Row("chunk written as a Responses event", "µs", {"ours": best(write, rounds)}, (Goal("<=", GOAL),)),
    ]


def best(work: Callable[[], None], rounds: int) -> float:
    """Microseconds an event in the best of `rounds`."""
    least = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least / EVENTS * 1e6


def stream() -> Sequence[bytes]:
    """A stream as OpenAI writes it: one event a piece, text deltas of a word with its padding."""
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
