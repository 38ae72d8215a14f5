"""One conversation as the page shows it: each message once, with tool calls, attempts and timings in between.

Records are read one by one and only what a request added is kept: of a 10 MB conversation, most is repeated history.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from openai_proxy.records.writing.log_reader import ShownMessages, Summary, records, text_of, token_counts
from openai_proxy.records.writing.names import slug

Record = dict[str, Any]
Item = dict[str, Any]

MAX_ITEMS: Final = 400
MAX_TEXT: Final = 20_000  # characters of one text
_FACTS: Final = (
    "status", "finish", "finish_reason", "connection", "upstream_model", "duration_ms", "ttft_ms", "attempts",
    "code", "note", "malformed",
)  # fmt: skip


def files_of(directory: Path, conversation: str) -> list[Path]:
    """The logs of one conversation, one per model that took part."""
    ending = f"_{slug(conversation, apart='_')}.jsonl"
    try:
        return sorted(path for path in directory.iterdir() if path.name.endswith(ending) and path.is_file())
    except OSError:
        return []


def merged(files: Iterable[Path], conversation: str) -> Iterator[Record]:
    """The records of one conversation sorted by time; lines of one file keep their order."""
    streams = ((r for r in records(path) if r["conversation_id"] == conversation) for path in files)
    return heapq.merge(*streams, key=lambda record: str(record.get("ts") or ""))


def view(directory: Path, conversation: str, *, limit: int = MAX_ITEMS, text: int = MAX_TEXT) -> dict[str, Any] | None:
    """The newest `limit` items of a conversation, texts cut to `text` characters; None if it is not in the logs.

    {"id", "models", "first", "last", "turns", "errors", "input_tokens", "output_tokens", "left_out", "items"}. An item
    has `kind` (message, answer, tool_call, error), `at`, `request_id`, and the members of its kind. Blocks.
    """
    summary = Summary(conversation)
    items: deque[Item] = deque(maxlen=limit)
    number = 0
    shown = ShownMessages()
    for record in merged(files_of(directory, conversation), conversation):
        summary.add(record)
        for item in _items(record, shown, text):
            items.append(item)
            number += 1
    if not summary.first:
        return None
    return {
        "id": conversation,
        "models": summary.models,
        "first": summary.first,
        "last": summary.last,
        "turns": summary.turns,
        "errors": summary.errors,
        "input_tokens": summary.input,
        "output_tokens": summary.output,
        "left_out": number - len(items),
        "items": list(items),
    }


def request_record(directory: Path, conversation: str, request_id: str) -> Record | None:
    """The record of one request with its whole history, so that it can be sent again. Blocks."""
    for path in files_of(directory, conversation):
        for record in records(path):
            if record.get("request_id") == request_id and record.get("type") == "request":
                return record
    return None


def _items(record: Record, shown: ShownMessages, limit: int) -> Iterator[Item]:
    kind = record.get("type")
    about: Item = {"at": record.get("ts"), "request_id": record.get("request_id"), "model": record.get("model")}
    if kind == "request":
        for message in shown.new_messages(record):
            yield {"kind": "message", **about, "role": str(message.get("role") or message.get("type")),
                   **_bounded(text_of(message), limit), **_calls(message.get("tool_calls"), limit)}  # fmt: skip
    elif kind == "response":
        shown.answered(record)
        given, made = token_counts(record)
        yield {"kind": "answer", **about, **_bounded(str(record.get("content") or ""), limit),
               **_bounded(str(record.get("reasoning") or ""), limit, "reasoning"),
               **_calls(record.get("tool_calls"), limit), **_facts(record), "usage": record.get("usage"),
               "input_tokens": given, "output_tokens": made,
               "estimated": "usage_estimated" in record}  # fmt: skip
    elif kind == "tool_call":
        yield {"kind": "tool_call", **about, "tool": record.get("tool"), "status": record.get("status"),
               "duration_ms": record.get("duration_ms"), **_bounded(_text(record.get("arguments")), limit, "arguments"),
               **_bounded(_text(record.get("result")), limit, "result")}  # fmt: skip
    elif kind == "error":
        cause = record.get("error")
        inner: Any = cause.get("message") if isinstance(cause, dict) else cause
        message = record.get("message") or inner
        yield {"kind": "error", **about, **_bounded(str(message or ""), limit), **_facts(record)}


def _facts(record: Record) -> Item:
    return {name: record[name] for name in _FACTS if record.get(name) is not None}


def _bounded(text: str, limit: int, name: str = "text") -> Item:
    """A text as the member `name`, omitted if empty; `NAME_length` gives the full length if it was cut."""
    if not text:
        return {}
    return {name: text} if len(text) <= limit else {name: text[:limit], f"{name}_length": len(text)}


def _calls(calls: Any, limit: int) -> Item:
    found: list[Item] = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            found.append({"id": call.get("id"), "name": function.get("name"),
                          **_bounded(_text(function.get("arguments")), limit, "arguments")})  # fmt: skip
    return {"tool_calls": found} if found else {}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
