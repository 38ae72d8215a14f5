"""The provider of the bench: plain asyncio protocols on uvloop, canned bytes, no parsing beyond the end of a request.

    python -m tests.bench.upstream PORT

What a request gets is in its `model`: `bench` a small JSON answer; `bench-RATE` a stream of `max_tokens` chunks at RATE
a second, each with the time it was sent (CLOCK_MONOTONIC, ns, between two @); `bench-silent` nothing at all;
`bench-tool` a call of the tool `calculator`, and once its result is there, a short answer. `GET /bench` reports the
number of requests, and the number of answers cut by the other side, with the time of the last.
"""

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The kitchen light is on, and it is 21 degrees."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 42, "completion_tokens": 12, "total_tokens": 54},
    }
).encode()
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"@%019d@ word"},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
CHUNK_FRAME = b"%x\r\n" % len(CHUNK % 0) + CHUNK + b"\r\n"
CALL = {
    "id": "call_bench",
    "type": "function",
    "function": {"name": "calculator", "arguments": '{"expression": "6*7"}'},
}
CALL_ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 42, "completion_tokens": 12, "total_tokens": 54},
    }
).encode()


def event(delta: object, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "bench"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"


def whole(content_type: bytes, text: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (content_type, len(text)) + text


ROLE = event({"role": "assistant", "content": ""}, None)
SSE = b"text/event-stream"
CALLS = {
    True: whole(
        SSE, ROLE + event({"tool_calls": [{"index": 0, **CALL}]}, None) + event({}, "tool_calls") + b"data: [DONE]\n\n"
    ),
    False: whole(b"application/json", CALL_ANSWER),
}
FINALS = {True: whole(SSE, ROLE + event({"content": "It is 42."}, None) + LAST), False: SMALL}
LAST_FRAME = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST)
MODEL = re.compile(rb'"model"\s*:\s*"bench-([a-z0-9.]+)"')
COUNT = re.compile(rb'"max_(?:completion_)?tokens"\s*:\s*(\d+)')
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class Tally:
    """The counts for `GET /bench`."""

    requests = 0
    cut = 0
    last_cut_ns = 0


class Provider(asyncio.Protocol):
    """One connection. Requests come one at a time, as every subject sends them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buffer = b""
        self.timer: asyncio.TimerHandle | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.busy:
            Tally.cut += 1
            Tally.last_cut_ns = time.monotonic_ns()

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.buffer = data
            return
        if data.startswith(b"GET"):
            self.buffer = b""
            self.tell(data)
            return
        length = LENGTH.search(data, 0, end + 2)
        complete = len(data) - end - 4 >= int(length[1]) if length else data.endswith(b"0\r\n\r\n")
        if not complete:
            self.buffer = data
            return
        self.buffer = b""
        Tally.requests += 1
        kind = MODEL.search(data, end)
        if kind is None:
            self.transport.write(SMALL)
            return
        if kind[1] == b"tool":
            answers = FINALS if b'"role":"tool"' in data or b'"role": "tool"' in data else CALLS
            self.transport.write(answers[b'"stream":true' in data or b'"stream": true' in data])
            return
        self.busy = True
        if kind[1] != b"silent":
            count = COUNT.search(data, end)
            self.transport.write(HEAD)
            self.pause = 1 / float(kind[1])
            self.left = int(count[1]) if count else 10
            self.due = self.loop.time()
            self.tick()

    def tick(self) -> None:
        """Send one chunk and schedule the next by the clock, so that a late one does not delay those after it."""
        if self.left == 0:
            self.busy = False
            self.transport.write(LAST_FRAME)
            return
        self.left -= 1
        self.due += self.pause
        self.transport.write(CHUNK_FRAME % time.monotonic_ns())
        self.timer = self.loop.call_at(self.due, self.tick)

    def tell(self, request: bytes) -> None:
        if request.startswith(b"GET /bench"):
            body: object = {"requests": Tally.requests, "cut": Tally.cut, "last_cut_ns": Tally.last_cut_ns}
        else:
            body = {"object": "list", "data": [{"id": "bench", "object": "model", "created": 0, "owned_by": "bench"}]}
        text = json.dumps(body).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        )


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Provider(loop), "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
