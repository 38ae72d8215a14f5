"""What recording costs: `python -m tests.records.measure`. In CPU time, so that a busy machine matters less."""

import json
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai_proxy.endpoints import at
from openai_proxy.exchange import Caller, Exchange, Outcome
from openai_proxy.records.recording.recorder import Recorder
from openai_proxy.records.recording.service import Records
from tests.records.conftest import JSON, SSE

CHAT = at("/chat/completions")
REQUEST = json.dumps(
    {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "You are helpful. " * 10}, {"role": "user", "content": "hi there"}],
        "user": "bench",
    }
).encode()
ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello world"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
    }
).encode()


def chunk(number: int, created: int = 0) -> bytes:
    """One chunk of 280 bytes as OpenAI sends it and the fast path passes it on: without its framing."""
    choice = {"index": 0, "delta": {"content": f"token{number} "}, "logprobs": None, "finish_reason": None}
    body = {
        "id": "chatcmpl-C2QD1kGWsTW5OWiqAtOSFEAOfPfQH",
        "object": "chat.completion.chunk",
        "created": 1754693439 + created,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "choices": [choice],
        "usage": None,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def measure(ask: Callable[[Recorder], None], rounds: int) -> tuple[float, float]:
    """CPU seconds of the loop's part and of the thread's part for `rounds` times `ask`; the best of five."""
    best = [1e9, 1e9]
    for _ in range(5):
        with tempfile.TemporaryDirectory() as directory:
            recorder = Records(Path(directory) / "logs", Path(directory) / "state").recorder
            recorder.close()  # the thread's part runs here, where it can be measured
            recorder._queue = deque()
            loop = thread = 0.0
            for _ in range(rounds):
                start = time.thread_time()
                ask(recorder)
                middle = time.thread_time()
                recorder._round(len(recorder._queue))
                loop += middle - start
                thread += time.thread_time() - middle
            best = [min(best[0], loop), min(best[1], thread)]
    return best[0], best[1]


def exchanges(count: int) -> Callable[[Recorder], None]:
    """`count` plain exchanges."""

    def ask(recorder: Recorder) -> None:
        for _ in range(count):
            entry = recorder.open(Exchange("r", Caller("::1"), "POST", CHAT, model="m", connection="c"))
            entry.request(REQUEST)
            entry.response(200, JSON)
            entry.data(ANSWER)
            entry.close(Outcome.DONE)

    return ask


def stream(chunks: list[bytes]) -> Callable[[Recorder], None]:
    """One stream of `chunks`."""

    def ask(recorder: Recorder) -> None:
        about: Any = Exchange("r", Caller("::1"), "POST", CHAT, model="m", connection="c", stream=True)
        entry = recorder.open(about)
        entry.request(REQUEST)
        entry.response(200, SSE)
        data = entry.data
        for one in chunks:
            data(one)
        entry.close(Outcome.DONE)

    return ask


def main() -> None:
    """Print the table."""
    cases = [
        ("plain exchange", exchanges(50), 50, 100),
        ("chunk, equal frames", stream([chunk(n) for n in range(1000)]), 1000, 20),
        ("chunk, frames that differ", stream([chunk(n, n) for n in range(1000)]), 1000, 20),
    ]
    for name, ask, each, rounds in cases:
        loop, thread = (seconds / rounds / each * 1e6 for seconds in measure(ask, rounds))
        print(f"{name:<28} loop {loop:6.2f} µs   thread {thread:6.2f} µs")


if __name__ == "__main__":
    main()
