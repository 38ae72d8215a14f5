"""The spans of one request: the request itself, each attempt at a provider, and each tool that runs.

    SERVER  POST chat                    from the request to the end of its answer
    ├── CLIENT    chat gpt-4o            one attempt, to the end of its answer
    ├── INTERNAL  execute_tool NAME      one call of a tool of ours (CLIENT for a tool of an MCP server)
    └── CLIENT    chat gpt-4o            the next round

The last attempt ends when the record of the request is read, because its tokens are known then.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from openai_proxy.exchange import Attempt, Exchange, Headers, Outcome
from openai_proxy.records.reading.tokens import Tokens, read_usage
from openai_proxy.records.recording.finished_exchange import Finished
from openai_proxy.records.writing.request_contents import messages_of
from openai_proxy.telemetry.attributes import ProviderAddress, input_messages, operation, output_messages, text_of

_PROPAGATOR: Final = TraceContextTextMapPropagator()  # https://www.w3.org/TR/trace-context/
MCP_PREFIX: Final = "mcp_"  # how the names of MCP servers' tools begin
_BILLION: Final = 1_000_000_000


class RequestTrace:
    """An `exchange.Trace`. Belongs to the event loop, except `end` and what it calls."""

    def __init__(
        self,
        tracer: Tracer,
        exchange: Exchange,
        headers: Mapping[str, str],
        provider: Callable[[str], ProviderAddress],
        *,
        content: bool,
    ) -> None:
        self._tracer = tracer
        self._exchange = exchange
        self._provider = provider
        self._content = content
        self._operation = operation(exchange.endpoint)
        carrier = {name.lower(): value for name, value in headers.items() if name.lower() in _PROPAGATOR.fields}
        self._span = tracer.start_span(
            f"{exchange.method} {exchange.endpoint.name}",
            _PROPAGATOR.extract(carrier, Context()),
            SpanKind.SERVER,
            {"http.request.method": exchange.method, "url.path": exchange.path, "http.route": exchange.endpoint.name,
             "client.address": exchange.caller.remote, "openai_proxy.request.id": exchange.id},
        )  # fmt: skip
        self._context = set_span_in_context(self._span, Context())
        self._asking: Span | None = None  # the attempt that is running, or whose answer is
        self._attempt_began = 0.0
        self._answered_at: float | None = None  # when its answer ended; None: it is still running
        self._failed: str | None = None
        self._counted = Tokens()  # of the rounds so far
        self._tools: dict[str, Span] = {}
        self.about: dict[str, Any] | None = None  # the metrics of the last attempt
        self.attempts: list[tuple[float, str | None]] = []  # seconds of each attempt, and its error

    # -- attempts ---------------------------------------------------------------------------------------------------

    def attempt(self, attempt: Attempt) -> Headers:
        """exchange.Trace: a provider request starts; returns the header fields that identify the span."""
        self._release_spans(time.time())
        exchange, target = self._exchange, attempt.target
        model = target.model or exchange.model or ""
        provider = self._provider(target.connection)
        self.about = {"gen_ai.operation.name": self._operation, "gen_ai.request.model": model, **provider.attributes()}
        self._attempt_began, self._answered_at, self._failed = time.time(), None, None
        self._asking = self._tracer.start_span(
            f"{self._operation} {model}".rstrip(), self._context, SpanKind.CLIENT,
            {**self.about, "gen_ai.request.stream": exchange.stream, "openai_proxy.connection": target.connection},
        )  # fmt: skip
        return [(name.encode(), value.encode()) for name, value in self._carried(self._asking).items()]

    def attempt_failed(self, attempt: Attempt) -> None:
        """exchange.Trace: no usable answer arrived."""
        self._failed = attempt.error or str(attempt.status or "error")
        self._answered_at = time.time()

    def round_ended(self, total: dict[str, Any] | None) -> None:
        """exchange.Trace: one model answer is complete; `total` is the usage so far."""
        self._answered_at = time.time()
        if total is not None and self._asking is not None:
            tokens = read_usage(total)
            self._count(self._asking, tokens, self._counted)
            self._counted = tokens

    def _release_spans(self, now: float) -> None:
        """End the span of the last attempt."""
        span, self._asking = self._asking, None
        if span is None:
            return
        ended = self._answered_at if self._answered_at is not None else now
        if self._failed is not None:
            span.set_attribute("error.type", self._failed)
            span.set_status(Status(StatusCode.ERROR, self._failed))
        self.attempts.append((max(ended - self._attempt_began, 0.0), self._failed))
        span.end(_nanoseconds(ended))

    @staticmethod
    def _count(span: Span, tokens: Tokens, before: Tokens) -> None:
        span.set_attribute("gen_ai.usage.input_tokens", tokens.input - before.input)
        span.set_attribute("gen_ai.usage.output_tokens", tokens.output - before.output)
        if cached := tokens.cached - before.cached:
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", cached)
        if thought := tokens.reasoning - before.reasoning:
            span.set_attribute("gen_ai.usage.reasoning.output_tokens", thought)

    def _carried(self, span: Span) -> dict[str, str]:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
        return carrier

    # -- tools ------------------------------------------------------------------------------------------------------

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """exchange.Trace: a tool of ours starts; returns the members of `_meta` for an MCP server."""
        remote = tool.startswith(MCP_PREFIX)
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool, "gen_ai.tool.call.id": call,
                      "gen_ai.tool.type": "function"}  # fmt: skip
        if remote:
            attributes["mcp.method.name"] = "tools/call"
        kind = SpanKind.CLIENT if remote else SpanKind.INTERNAL
        span = self._tools[call] = self._tracer.start_span(f"execute_tool {tool}", self._context, kind, attributes)
        return self._carried(span)

    def tool_ended(self, call: str, arguments: Any, result: str, *, failed: bool) -> None:
        """exchange.Trace: it has ended, successfully or not."""
        span = self._tools.pop(call, None)
        if span is None:  # it was never run
            return
        if self._content:
            span.set_attribute("gen_ai.tool.call.arguments", text_of(arguments))
            span.set_attribute("gen_ai.tool.call.result", text_of(result))
        if failed:
            span.set_attribute("error.type", "tool_error")
            span.set_status(Status(StatusCode.ERROR, "tool_error"))
        span.end()

    # -- the end ----------------------------------------------------------------------------------------------------

    def end(self, finished: Finished) -> None:
        """The request is over, and its record was read. Called in the recorder's thread."""
        exchange = self._exchange
        now = exchange.created_at + max((exchange.ended or exchange.started) - exchange.started, 0.0)
        for span in self._tools.values():
            span.set_status(Status(StatusCode.ERROR, "left"))
            span.end(_nanoseconds(now))
        self._tools = {}
        status = finished.status or exchange.status or 0
        asking, error = self._asking, finished.error_code
        if asking is not None:
            self._describe(asking, finished)
            if error is not None and self._failed is None and self._answered_at is None:
                self._failed = error
            self._release_spans(now)
        span = self._span
        span.set_attribute("http.response.status_code", status)
        if exchange.model:
            span.set_attribute("gen_ai.request.model", exchange.model)
        if exchange.caller.group is not None:
            span.set_attribute("openai_proxy.group", exchange.caller.group)
        if exchange.session_id:
            span.set_attribute("session.id", exchange.session_id)
        if finished.work.conversation:
            span.set_attribute("gen_ai.conversation.id", finished.work.conversation)
        if finished.tokens.total:
            self._count(span, finished.tokens, Tokens())
        if status >= 500 or (error is not None and exchange.outcome is not Outcome.CLIENT_CLOSED):
            span.set_attribute("error.type", error or str(status))
            span.set_status(Status(StatusCode.ERROR, error or str(status)))
        span.end(_nanoseconds(now))

    def _describe(self, span: Span, finished: Finished) -> None:
        """What is known about the last answer."""
        answer, tokens = finished.work.answer, finished.tokens
        if answer.id:
            span.set_attribute("gen_ai.response.id", answer.id)
        if answer.model:
            span.set_attribute("gen_ai.response.model", answer.model)
        if answer.finish_reason:
            span.set_attribute("gen_ai.response.finish_reasons", [answer.finish_reason])
        if tokens.total and not self._counted.total:
            self._count(span, tokens, Tokens())
        if not self._content:
            return
        if finished.work.request is not None:
            span.set_attribute(
                "gen_ai.input.messages", input_messages(messages_of(self._exchange.endpoint, finished.work.request))
            )
        if answer.content or answer.tool_calls:
            span.set_attribute(
                "gen_ai.output.messages", output_messages(answer.content, answer.tool_calls, answer.finish_reason)
            )


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _BILLION)
