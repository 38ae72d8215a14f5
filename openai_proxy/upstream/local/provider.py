"""A connection to a model on this machine: one request at a time, in order of arrival."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson

from openai_proxy.dialects.chat.chunks import DONE, ChunkWriter, error_event, usage_of
from openai_proxy.dialects.chat.dialect import asks_for_usage
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.errors import (
    BadRequest,
    NotFound,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamTimeout,
)
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.tasks import spawn
from openai_proxy.upstream.inprocess import (
    SSE_HEADERS,
    StreamResponse,
    error_response,
    json_response,
    models_answer,
    refusal_as_answer,
)
from openai_proxy.upstream.local.job import Job
from openai_proxy.upstream.local.process import WorkerProcess, worker_command
from openai_proxy.upstream.local.tool_text import ToolCallText
from openai_proxy.upstream.translating import chat_of, dropped_header

QUEUE: Final = 16  # requests that may wait behind the running one
IDLE_UNLOAD: Final = 900.0  # idle seconds until the memory is released
_UNDERSTOOD: Final = frozenset(
    {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
     "top_k", "stop", "seed", "tools", "tool_choice", "n", "user", "store", "metadata", "repetition_penalty",
     "parallel_tool_calls"}
)  # fmt: skip


class LocalProvider:
    """See provider.Provider. Needs no key.

    Either `path`, a transformers model directory, or `function`, the dotted name of an inference function that is
    searched in `search` (conf/) and on sys.path. `model` is the id under which it is listed; by default the directory's
    or function's name. `first_byte` and `idle` are seconds; the former includes waiting and loading.
    """

    api_type: ClassVar[str] = "local"

    def __init__(
        self,
        name: str,
        *,
        path: str | None = None,
        function: str | None = None,
        search: Path | None = None,
        model: str = "",
        first_byte: float | None = 300.0,
        idle: float | None = 120.0,
        queue: int = QUEUE,
        idle_unload: float = IDLE_UNLOAD,
        command: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.model = model or (Path(path).name if path else function or name)
        self._all_parameters = function is not None  # a function accepts any parameter; a model only those it knows
        self._first_byte = first_byte
        self._idle = idle
        self._limit = queue
        self._idle_unload = idle_unload
        target = ["--path", str(path)] if path else ["--callable", function or ""]
        where = ["--search", str(search)] if search is not None else []
        self._command = list(command) if command is not None else worker_command(*target, *where)
        self._turn = asyncio.Lock()  # its waiters are served in order
        self._waiting = 0
        self._numbers = itertools.count(1)
        self._process: WorkerProcess | None = None
        self._unload: asyncio.TimerHandle | None = None
        self._unloading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.alive else None

    def speaks(self, dialect: str) -> bool:
        return False

    async def send(self, request: UpstreamRequest, key: str | None = None) -> UpstreamResponse:
        """Wait for a turn and send the request; returns with the first token. Raises the UpstreamError family."""
        return await refusal_as_answer(self._send(request))

    async def list_models(self) -> list[dict[str, Any]]:
        """The one model, without starting it."""
        return [{"id": self.model, "object": "model", "created": 0, "owned_by": "local"}]

    async def aclose(self) -> None:
        """End the child."""
        if self._unload is not None:
            self._unload.cancel()
        if self._unloading is not None:
            await asyncio.wait([self._unloading])  # not cancelled: nothing else knows the child that it is ending
        await self._end()

    async def _send(self, request: UpstreamRequest) -> UpstreamResponse:
        path = request.path.rstrip("/")
        (model,) = await self.list_models()
        if (answer := models_answer(path, model)) is not None:
            return answer
        if path != CHAT_PATH or request.method != "POST":
            raise NotFound("A local model offers chat completions only.")
        body = await chat_of(request)
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            raise BadRequest("'messages' must be a list with at least one message.", param="messages")
        if not all(isinstance(message, dict) for message in body["messages"]):
            raise BadRequest("A message must be an object.", param="messages")
        if not isinstance(body.get("tools") or [], list):
            raise BadRequest("'tools' must be a list.", param="tools")
        if body.get("n") not in (None, 1):
            raise BadRequest("A local model gives one choice per request.", param="n", code="unsupported_parameter")
        if self._waiting >= self._limit:
            # An answer, not an exception: like any provider's 503 it may be retried or passed to the next target.
            busy = UpstreamError(
                "The local model is busy.", code="overloaded", status=503, headers={"Retry-After": "5"}
            )
            return error_response(busy)
        return await self._ask(body)

    async def _ask(self, body: dict[str, Any]) -> UpstreamResponse:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._first_byte):
                await self._turn.acquire()
        except TimeoutError:
            raise UpstreamTimeout("The local model is busy and took too long.") from None
        finally:
            self._waiting -= 1
        job = Job(next(self._numbers), self._give_back, self._running)
        try:
            left = None if self._first_byte is None else max(self._first_byte - (loop.time() - started), 0.1)
            first = await job.begin(body, left)
        except BaseException:
            job.close()
            raise
        if first["event"] in ("error", "failed"):
            return error_response(_error(first))
        dropped = [] if self._all_parameters else dropped_header(
            name for name, value in body.items() if name not in _UNDERSTOOD and value is not None
        )  # fmt: skip
        pieces = self._pieces(job, first, body)
        if body.get("stream"):
            return StreamResponse(pieces, headers=[*SSE_HEADERS, *dropped], on_close=job.close)
        try:
            return await _whole(pieces, dropped)
        finally:
            job.close()

    async def _pieces(self, job: Job, event: dict[str, Any], body: dict[str, Any]) -> AsyncIterator[bytes]:
        whole = not body.get("stream")
        wants_usage = whole or asks_for_usage(body)
        chunks = ChunkWriter(str(body.get("model") or self.model), usage_null=wants_usage and not whole)
        names = _tool_names(body)
        text = ToolCallText(names)
        called = False
        yield chunks.role()
        while event["event"] == "delta":
            delta = event["delta"]
            content = delta.pop("content", None)
            if isinstance(content, str) and content:
                for piece in text.feed(content) if names else ({"content": content},):
                    yield chunks.delta(piece)
            if delta:
                called = called or "tool_calls" in delta
                yield chunks.delta(delta)
            event = await job.more(self._idle)
        for piece in text.end():
            yield chunks.delta(piece)
        if event["event"] != "done":
            error = _error(event)
            yield error_event(error.payload()["error"])
            return
        finish = event.get("finish_reason") or "stop"
        yield chunks.finish("tool_calls" if (called or text.calls) and finish == "stop" else finish)
        if wants_usage:
            yield chunks.usage(usage_of(event.get("prompt_tokens") or 0, event.get("completion_tokens") or 0))
        yield DONE

    async def _running(self) -> WorkerProcess:
        """The child, started and ready."""
        if self._unload is not None:
            self._unload.cancel()
        if self._unloading is not None:
            await asyncio.wait([self._unloading])
        process = self._process
        if process is not None and process.alive:
            return process
        await self._end()
        process = self._process = await WorkerProcess.start(self._command, self.name)
        event = await process.events.get()
        if event is None:
            process.kill()
            raise UpstreamDisconnected("The local model could not be started.")
        if event.get("event") == "failed":
            await self._end()
            raise _error(event)
        return process

    def _give_back(self) -> None:
        self._turn.release()
        if self._unload is not None:
            self._unload.cancel()
        self._unload = asyncio.get_running_loop().call_later(self._idle_unload, self._idle_over)

    def _idle_over(self) -> None:
        if not self._turn.locked() and self._unloading is None:
            self._unloading = spawn(self._unload_now(), name=f"unload {self.name}")

    async def _unload_now(self) -> None:
        try:
            await self._end()
        finally:
            self._unloading = None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()


async def _whole(pieces: AsyncIterator[bytes], dropped: list[tuple[bytes, bytes]]) -> UpstreamResponse:
    """The answer assembled into one completion, or its error."""
    fold = MessageFold()
    events = EventSplitter()
    async for piece in pieces:
        for event in events.feed(piece):
            if event.data == DONE[6:-2]:
                continue
            chunk = orjson.loads(event.data)
            if "error" in chunk:
                return error_response(_error(chunk["error"]))
            fold.feed(chunk)
    return json_response(fold.completion(), headers=dropped)


def _error(event: dict[str, Any]) -> UpstreamError:
    status = event.get("status")
    return UpstreamError(
        str(event.get("message") or "The local model failed."),
        code=str(event.get("code") or "local_error"),
        status=status if isinstance(status, int) else 500,
    )


def _tool_names(body: dict[str, Any]) -> frozenset[str]:
    if body.get("tool_choice") == "none":
        return frozenset()
    functions = [tool.get("function") for tool in body.get("tools") or () if isinstance(tool, dict)]
    return frozenset(str(function.get("name")) for function in functions if isinstance(function, dict))
