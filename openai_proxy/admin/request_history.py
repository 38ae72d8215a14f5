"""Past requests: the chat logs read backwards, newest request first.

There is no index that could disagree with the logs or slow down requests. A list reads the most recently written files
from their ends until it has enough, and skips files that cannot contain anything for the page. Truncated lines and
lines that are not records are skipped.
"""

import heapq
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from openai_proxy.records.writing.log_reader import files_by_age, text_of, token_counts

BLOCK: Final = 256 * 1024  # bytes read at once, from the end of a file
WHOLE_LINE: Final = 512 * 1024  # bytes of a request line that is parsed in full; of longer ones only both ends are
SLACK: Final = 600.0  # seconds that a request may have begun before the first line of its file was written
BUDGET: Final = 2.0  # seconds a list may take; then what was found so far is returned
_STREAM: Final = re.compile(rb'"stream":(true|false)')
_GROUP: Final = re.compile(rb'"group":"((?:[^"\\]|\\.)*)"')
_KEY: Final = re.compile(rb'"api_key_id":"([0-9a-f]+)"')
_FIRST_TS: Final = re.compile(rb'"ts":"([^"]+)"')

Record = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests to list; None and "" match everything. `text` is searched for in messages and answers."""

    model: str = ""
    connection: str = ""
    group: str = ""
    status: str = ""  # "ok", "failed", or ""
    text: str = ""

    def allows(self, row: Row) -> bool:
        """True if the finished row may be listed."""
        if self.model and self.model.lower() not in str(row["model"]).lower():
            return False
        if self.connection and row["connection"] != self.connection:
            return False
        if self.group and row["group"] != self.group:
            return False
        if self.status and (row["error"] is not None) != (self.status == "failed"):
            return False
        return not self.text or self.text.casefold() in _haystack(row)


def _haystack(row: Row) -> str:
    parts = (row["id"], row["model"], row["asked"], row["answered"], row["error"], row["conversation_id"])
    return "\n".join(str(part) for part in parts if part).casefold()


def seconds_of(ts: Any) -> float | None:
    """An ISO 8601 time as seconds since the epoch, None for anything else."""
    try:
        return datetime.fromisoformat(str(ts)).timestamp()
    except ValueError:
        return None


def lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file, last one first, without line feeds. A file that cannot be read has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        position = os.fstat(descriptor).st_size
        pieces: list[bytes] = []  # parts of a line whose beginning has not been read yet, last part first
        while position > 0:
            size = min(BLOCK, position)
            position -= size
            first, *rest = os.pread(descriptor, size, position).split(b"\n")
            if rest:
                pieces.append(rest.pop())
                yield b"".join(reversed(pieces))
                yield from reversed(rest)
                pieces = []
            pieces.append(first)
        yield b"".join(reversed(pieces))
    except OSError:
        return
    finally:
        os.close(descriptor)


class _File:
    """The rows of one file, assembled line by line from its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._endings: dict[str, Record] = {}
        self._tools: dict[str, int] = {}
        self.written = float("inf")  # the time of the line that was read last, if known

    def rows(self) -> Iterator[Row]:
        """Every request of the file with its outcome, the last written one first."""
        for line in lines_backwards(self._path):
            record = _request(line) if line.startswith(b'{"type":"request"') else _parsed(line)
            if record is None:
                continue
            name, kind = str(record.get("request_id")), record.get("type")
            if kind == "request":
                yield _row(record, self._endings.pop(name, None), self._tools.pop(name, 0))
            elif kind == "tool_call":
                self._tools[name] = self._tools.get(name, 0) + 1
            elif kind in ("response", "error"):
                self.written = seconds_of(record.get("ts")) or self.written
                later = self._endings.get(name)
                self._endings[name] = {**record, **later, "content": record.get("content")} if later else record
        for record in self._endings.values():  # the beginning of the file is missing
            yield _row(None, record, self._tools.get(str(record.get("request_id")), 0))


def _parsed(line: bytes) -> Record | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("conversation_id"), str) else None


def _request(line: bytes) -> Record | None:
    """A request's record. It repeats the whole history, so of a very long one only both ends are read."""
    if len(line) <= WHOLE_LINE:
        return _parsed(line)
    head, tail = line[:4096], line[-1024:]
    cut = head.find(b',"messages":')
    if cut < 0 or not tail.endswith(b"}"):
        return None
    record = _parsed(head[:cut] + b"}")
    if record is not None:
        stream, group, key = _STREAM.search(tail), _GROUP.search(tail), _KEY.search(tail)
        record["stream"] = stream is not None and stream[1] == b"true"
        if group is not None:
            record["group"] = orjson.loads(b'"' + group[1] + b'"')
        if key is not None:
            record["api_key_id"] = key[1].decode()
    return record


def _row(request: Record | None, ending: Record | None, tools: int) -> Row:
    """One row of the list. Times are seconds since the epoch and milliseconds; unknown values are None."""
    known = request or ending or {}
    messages = request.get("messages") if request is not None else None
    last = next((m for m in reversed(messages) if isinstance(m, dict)), None) if isinstance(messages, list) else None
    row: Row = {
        "id": str(known.get("request_id")),
        "conversation_id": known.get("conversation_id"),
        "model": known.get("model"),
        "asked": text_of(last) if last is not None else "",
        "stream": request.get("stream") if request is not None else None,
        "group": request.get("group") if request is not None else None,
        "key_id": request.get("api_key_id") if request is not None else None,
        "tools": tools,
        "finished": ending is not None,
    }
    at = seconds_of(request.get("ts")) if request is not None else None
    ending = ending or {}
    duration = ending.get("duration_ms")
    if at is None:
        at = (seconds_of(ending.get("ts")) or 0.0) - (duration / 1000 if isinstance(duration, int | float) else 0.0)
    given, made = token_counts(ending)
    attempts = ending.get("attempts")
    failed = ending.get("type") == "error"
    return row | {
        "at": at,
        "answered": str(ending.get("content") or ""),
        "connection": ending.get("connection"),
        "upstream_model": ending.get("upstream_model"),
        "status": ending.get("status"),
        "outcome": ending.get("finish"),
        "error": _error(ending) if failed else None,
        "finish_reason": ending.get("finish_reason"),
        "input_tokens": given,
        "output_tokens": made,
        "estimated": "usage_estimated" in ending,
        "duration_ms": duration,
        "ttft_ms": ending.get("ttft_ms"),
        "attempts": len(attempts) if isinstance(attempts, list) else 1,
    }


def _error(ending: Record) -> str:
    error = ending.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    return str(ending.get("message") or inner or ending.get("code") or f"status {ending.get('status')}")


Cursor = tuple[float, str]
"""Where a page of the list ends: start time and id of its last row."""


def recent(directory: Path, limit: int, wanted: Filter, before: Cursor | None = None) -> tuple[list[Row], bool]:
    """Up to `limit` requests that match `wanted`, newest first, and whether there may be older ones. Blocks."""
    until = time.monotonic() + BUDGET
    newest: list[tuple[float, str, int, Row]] = []  # a heap: the oldest kept one is first
    order = count()  # a tie-breaker, so that rows themselves are never compared
    for path in files_by_age(directory):
        if time.monotonic() > until:
            return _finished(newest), True
        if len(newest) >= limit and _modified(path) < newest[0][0]:
            break
        if before is not None and _begins_after(path, before[0]):
            continue
        file = _File(path)
        for row in file.rows():
            if len(newest) >= limit and file.written < newest[0][0]:
                break
            place = (row["at"], row["id"])
            if (before is None or place < before) and wanted.allows(row):
                entry = (*place, next(order), row)
                (heapq.heappushpop if len(newest) >= limit else heapq.heappush)(newest, entry)
    return _finished(newest), len(newest) >= limit


def _finished(newest: list[tuple[float, str, int, Row]]) -> list[Row]:
    rows = [entry[-1] for entry in sorted(newest, key=lambda entry: entry[:3], reverse=True)]
    for row in rows:
        for name in ("asked", "answered"):
            row[name] = " ".join(row[name][:400].split())[:200]
    return rows


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _begins_after(path: Path, moment: float) -> bool:
    """True if every request of the file is certainly newer than `moment`."""
    try:
        with path.open("rb") as file:
            found = _FIRST_TS.search(file.read(256))
    except OSError:
        return True
    begun = seconds_of(found[1].decode("ascii", "replace")) if found is not None else None
    return begun is not None and begun - SLACK > moment


def conversation_of(directory: Path, request_id: str) -> str | None:
    """The conversation of a request, None if no log of the last days has it. Blocks."""
    until = time.monotonic() + BUDGET
    mark = b'"request_id":' + orjson.dumps(request_id)
    for path in files_by_age(directory):
        for line in lines_backwards(path):
            if mark in line[:4096] and (record := _request(line)) is not None:
                return str(record["conversation_id"])
        if time.monotonic() > until:
            return None
    return None
