"""The columns of a logger's row: paths into the data of one exchange."""

from collections.abc import Mapping
from typing import Any

from openai_proxy.exchange import Outcome
from openai_proxy.nearest import nearest
from openai_proxy.records.recording.finished_exchange import Finished
from openai_proxy.records.writing.chatlog import stamp

ROOTS = (
    "created_at",
    "request_id",
    "conversation_id",
    "remote_addr",
    "group",
    "api_key_id",
    "method",
    "path",
    "model",
    "connection",
    "upstream_model",
    "attempts",
    "status",
    "outcome",
    "error",
    "duration",
    "ttft",
    "cost",
    "request",
    "response",
)
"""The roots of paths. `request` is the body as it was sent; `response` the answer in one shape for every API: id,
model, content, reasoning, tool_calls, finish_reason, usage, error. Their paths in a chat completion
(`response.choices.0.message.content`) work, too.
"""


def trouble(path: str) -> str | None:
    """What is wrong with a path, None if nothing is."""
    root = path.partition(".")[0]
    if root in ROOTS:
        return None
    near = nearest(root, ROOTS)
    return f'"{path[:60]}" does not exist' + (f", did you mean {near[0]}?" if near else f": use {', '.join(ROOTS)}")


def whole(finished: Finished, cost: float | None) -> dict[str, Any]:
    """All data of an exchange."""
    exchange, work = finished.exchange, finished.work
    answer = work.answer
    started = exchange.started
    return {
        "created_at": stamp(exchange.created_at),
        "request_id": exchange.id,
        "conversation_id": work.conversation or None,
        "remote_addr": exchange.caller.remote,
        "group": exchange.caller.group,
        "api_key_id": exchange.caller.key_id,
        "method": exchange.method,
        "path": exchange.path,
        "model": exchange.model,
        "connection": exchange.connection,
        "upstream_model": exchange.upstream_model,
        "attempts": len(exchange.attempts),
        "status": finished.status or exchange.status,
        "outcome": str(exchange.outcome or Outcome.DONE),
        "error": finished.error_code,
        "duration": round((exchange.ended or started) - started, 4),
        "ttft": round(exchange.first_byte - started, 4) if exchange.first_byte is not None else None,
        "cost": cost,
        "request": work.request,
        "response": {
            "id": answer.id,
            "model": answer.model,
            "content": answer.content,
            "reasoning": answer.reasoning or None,
            "tool_calls": answer.tool_calls,
            "finish_reason": answer.finish_reason,
            "usage": answer.usage,
            "error": answer.error,
        },
    }


def select(record: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row of `columns` (name -> path); all data if none are named. Missing values are None."""
    if not columns:
        return record
    return {name: _follow(record, _steps(path)) for name, path in columns.items()}


def _steps(path: str) -> list[str]:
    steps = path.split(".")
    if steps[:3] == ["response", "choices", "0"]:
        inner = 4 if steps[3:4] in (["message"], ["delta"]) else 3
        return ["response", *steps[inner:]]
    return steps


def _follow(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.removeprefix("-").isdigit():
            place = int(step)
            value = value[place] if -len(value) <= place < len(value) else None
        else:
            return None
    return value
