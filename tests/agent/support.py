"""A scripted provider, scripted tools, and turns with them. In process: no sockets, no waiting."""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from openai_proxy.agent.run import TurnAnswer, start
from openai_proxy.agent.turn import CallRecord, LoopSettings, NullObserver, Turn
from openai_proxy.errors import ProxyError, UpstreamTruncated
from openai_proxy.tools.base import CallContext, ToolResult

USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-up",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "upstream/m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def events(*chunks: dict[str, Any] | str, done: bool = True) -> bytes:
    lines = [c if isinstance(c, str) else json.dumps(c) for c in chunks]
    return b"".join(f"data: {line}\n\n".encode() for line in [*lines, *(["[DONE]"] if done else [])])


def usage_event(usage: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**chunk({}), "choices": [], "usage": usage or USAGE}


def call_deltas(*calls: tuple[str, str, str]) -> list[dict[str, Any]]:
    """OpenAI's form: a head with id and name, then the arguments in two pieces."""
    deltas = []
    for index, (call_id, name, arguments) in enumerate(calls):
        head = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [head]})
        half = len(arguments) // 2
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in (arguments[:half], arguments[half:])
            if piece
        ]
    return deltas


def results(request: dict[str, Any]) -> list[tuple[str, str]]:
    """(id, content) of each tool result in a request."""
    return [(m["tool_call_id"], m["content"]) for m in request["messages"] if m["role"] == "tool"]


def says(text: str, finish: str = "stop") -> bytes:
    """A streamed answer of text."""
    words = [chunk({"content": text[i : i + 4]}) for i in range(0, len(text), 4)]
    return events(chunk({"role": "assistant", "content": ""}), *words, chunk({}, finish), usage_event())


def asks(*calls: tuple[str, str, str], text: str = "", finish: str = "tool_calls") -> bytes:
    """A streamed answer of tool calls, perhaps after some text."""
    first = [chunk({"role": "assistant", "content": text or None})]
    return events(*first, *map(chunk, call_deltas(*calls)), chunk({}, finish), usage_event())


def completion(message: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:
    """A whole answer."""
    return json.dumps(
        {
            "id": "chatcmpl-up",
            "object": "chat.completion",
            "created": 1,
            "model": "upstream/m",
            "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
            "usage": USAGE,
            **more,
        }
    ).encode()


def whole_calls(*calls: tuple[str, str, str], text: str | None = None) -> bytes:
    entries = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    return completion({"content": text, "tool_calls": entries}, "tool_calls")


class Response:
    """A provider's answer from `pieces`: an Event among them is awaited, an exception is raised."""

    def __init__(self, pieces: list[Any], *, status: int = 200, kind: bytes = b"text/event-stream") -> None:
        self.status = status
        self.reason = "OK"
        self.headers = [(b"Content-Type", kind), (b"x-request-id", b"up-1")]
        self._pieces = list(pieces)
        self.closed = False
        self.ended = False

    async def chunk(self) -> bytes:
        if self.closed:
            raise AssertionError("the answer was read after it was closed")
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, Exception):
                raise piece
            elif piece:
                return bytes(piece)
        self.ended = True
        return b""

    async def read(self, limit: int) -> bytes:
        data = b""
        while more := await self.chunk():
            data += more
        assert len(data) <= limit
        return data

    def close(self) -> None:
        self.closed = True


class Upstream:
    """Returns the scripted answers in turn and keeps the requests."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.responses: list[Response] = []

    async def __call__(self, body: dict[str, Any]) -> Response:
        self.requests.append(copy.deepcopy(body))
        assert self._answers, "there were more requests than scripted answers"
        answer = self._answers.pop(0)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = self._answers.pop(0)
        if isinstance(answer, ProxyError):
            raise answer
        if not isinstance(answer, Response):
            pieces = answer if isinstance(answer, list) else [answer]
            whole = pieces and isinstance(pieces[0], bytes) and pieces[0].startswith(b"{")
            answer = Response(pieces, kind=b"application/json" if whole else b"text/event-stream")
        self.responses.append(answer)
        return answer


class FakeTool:
    def __init__(self, name: str, run: Callable[[dict[str, Any], CallContext], Awaitable[str]]) -> None:
        self.name = name
        self.run = run
        self.definition = {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        return ToolResult(await self.run(arguments, context))


class Box:
    """A toolbox of functions: `Box(name=async_function)`; plain values are returned as results."""

    def __init__(self, **tools: Any) -> None:
        self.ran: list[tuple[str, dict[str, Any]]] = []
        self._tools = {name: FakeTool(name, self._runner(tool)) for name, tool in sorted(tools.items())}

    def _runner(self, tool: Any) -> Callable[[dict[str, Any], CallContext], Awaitable[str]]:
        async def run(arguments: dict[str, Any], context: CallContext) -> str:
            if callable(tool):
                return str(await tool(arguments, context))
            return str(tool)

        return run

    def definitions(self) -> list[dict[str, Any]]:
        return [tool.definition for tool in self._tools.values()]

    def get(self, name: str) -> FakeTool | None:
        return self._tools.get(name)

    async def run(
        self, name: str, arguments: str, context: CallContext | None = None, *, timeout: float = 60.0
    ) -> ToolResult:
        if name not in self._tools:
            return ToolResult(f"There is no tool {name!r}.", is_error=True)
        try:
            given = json.loads(arguments)
        except ValueError:
            return ToolResult("The arguments are not valid JSON.", is_error=True)
        self.ran.append((name, given))
        try:
            async with asyncio.timeout(timeout):
                return await self._tools[name].call(given, context or CallContext())
        except TimeoutError:
            return ToolResult(f"{name} did not answer within {timeout:g} seconds.", is_error=True)


class Watcher(NullObserver):
    def __init__(self) -> None:
        self.states: list[str] = []
        self.records: list[CallRecord] = []

    def state(self, state: str) -> None:
        self.states.append(state)

    def tool_call(self, record: CallRecord) -> None:
        self.records.append(record)


CLIENT_TOOL = {"type": "function", "function": {"name": "theirs", "parameters": {"type": "object"}}}


def turn(upstream: Any, box: Any = None, *, settings: dict[str, Any] | None = None, **given: Any) -> Turn:
    """A turn; `given` are members of Turn if it has them, else of the body."""
    own = {
        k: given.pop(k)
        for k in ("turns", "caller", "observer", "offered_only", "meta", "newest", "started", "thinking")
        if k in given
    }
    body = {"model": "upstream/m", "messages": [{"role": "user", "content": "hi"}], "stream": True, **given}
    limits: Any = {"tool_status": "off", **(settings or {})}
    return Turn(
        body=body,
        model="augmented/m",
        ask=upstream,
        toolbox=box,
        settings=LoopSettings(**limits),
        request_id="r1",
        **own,
    )


async def collect(answer: TurnAnswer) -> bytes:
    async with aclosing(answer.stream()) as pieces:
        return b"".join([piece async for piece in pieces])


async def stream(*args: Any, **given: Any) -> bytes:
    """The bytes a client gets for a streamed turn."""
    return await collect(await start(turn(*args, **given)))


async def whole(*args: Any, **given: Any) -> dict[str, Any]:
    """The completion a client gets for a turn that is not streamed."""
    return await (await start(turn(*args, stream=False, **given))).completion()


BROKEN = UpstreamTruncated("The provider broke off in the middle of its answer.")
