"""The parts of the upstream's scripts: heads, chunks, events, and the ways in which a connection can end."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.harness.upstream import Peer


class Ending:
    """A step without bytes: FIN closes, RST resets, HOLD stays silent until the peer disconnects."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


FIN: Final = Ending("FIN")
RST: Final = Ending("RST")
HOLD: Final = Ending("HOLD")


class Gate:
    """A step that waits until the test opens it, so that a script pauses exactly where a test needs it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def open(self) -> None:
        """Let the script continue. Can be called from any thread."""
        self._loop.call_soon_threadsafe(self._event.set)

    async def passed(self) -> None:
        """Wait for `open`."""
        await self._event.wait()


Step = bytes | Ending | Gate | Callable[["Peer"], Awaitable[None]]

Fields = Iterable[tuple[str, str]] | Mapping[str, str]


def head(status: str = "200 OK", fields: Fields = (), *, version: str = "HTTP/1.1") -> bytes:
    """A status line and `fields`, ended by the blank line."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    lines = [f"{version} {status}", *(f"{name}: {value}" for name, value in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def plain(body: bytes, status: str = "200 OK", content_type: str | None = "application/json", **more: str) -> bytes:
    """A whole answer with Content-Length. `more` are header fields, with `_` for `-`."""
    fields = {"Content-Type": content_type} if content_type else {}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return head(status, {**fields, "Content-Length": str(len(body))}) + body


SSE_HEAD: Final = head("200 OK", {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
LAST: Final = b"0\r\n\r\n"


def chunk(data: bytes, *, size: str | None = None) -> bytes:
    """`data` as one HTTP chunk; `size` replaces the size line's text."""
    return (size or f"{len(data):x}").encode() + b"\r\n" + data + b"\r\n"


def event(data: Any, *, name: str | None = None) -> bytes:
    """One server-sent event; anything but bytes is written as JSON."""
    payload = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + payload + b"\n\n"


def delta(text: str, *, finish: str | None = None, model: str = "upstream-model") -> bytes:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return event(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    )


DONE: Final = event(b"[DONE]")
TWO: Final = delta("one ") + delta("two ")
"""Two whole events: where most breaks of the fault matrix happen."""


def completion(text: str, *, model: str = "upstream-model") -> bytes:
    """A chat completion's JSON body."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
    ).encode()


def stream(*events: bytes, end: bytes = LAST) -> bytes:
    """A whole streamed answer, each event its own chunk."""
    return SSE_HEAD + b"".join(map(chunk, events)) + end
