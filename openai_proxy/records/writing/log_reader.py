"""Chat logs read back as conversations: the files of one session combined, each message shown once.

Every request repeats its whole history, so people want to read what each request added. A truncated last line after a
crash, and lines that are not records, are skipped.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

Record = dict[str, Any]
LAST = "last"
"""Instead of an id: the most recent conversation."""


def records(path: Path) -> Iterator[Record]:
    """The records of one file."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    record = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue
                if isinstance(record, dict) and isinstance(record.get("conversation_id"), str):
                    yield record
    except OSError:
        return


@dataclass(slots=True)
class Summary:
    """One conversation in a list."""

    id: str
    files: list[Path] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    first: str = ""
    last: str = ""
    turns: int = 0
    errors: int = 0
    input: int = 0
    output: int = 0
    title: str = ""

    def add(self, record: Record) -> None:
        """Count one record."""
        ts, kind = str(record.get("ts") or ""), record.get("type")
        self.first = min(self.first or ts, ts)
        self.last = max(self.last, ts)
        model = str(record.get("model") or "")
        if model not in self.models:
            self.models.append(model)
        if kind == "request":
            self.turns += 1
            if not self.title:
                self.title = next((text_of(m) for m in _messages(record) if m.get("role") == "user"), "")
        elif kind == "error":
            self.errors += 1
        elif kind == "response":
            given, made = token_counts(record)
            self.input += given
            self.output += made


def token_counts(record: Record) -> tuple[int, int]:
    """Tokens in and out of a response record, in whatever API."""
    from openai_proxy.records.reading.tokens import read_usage

    usage = record.get("usage")
    if isinstance(usage, dict):
        tokens = read_usage(usage)
        return tokens.input, tokens.output
    guess = record.get("usage_estimated")
    return (int(guess.get("input", 0)), int(guess.get("output", 0))) if isinstance(guess, dict) else (0, 0)


def files_by_age(directory: Path) -> list[Path]:
    """The log files, the last written one first."""
    found: list[tuple[float, str]] = []
    try:
        with os.scandir(directory) as entries:
            found.extend(
                (entry.stat().st_mtime, entry.path)
                for entry in entries
                if entry.name.endswith(".jsonl") and entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return []
    return [Path(path) for _, path in sorted(found, reverse=True)]


def summaries(directory: Path, limit: int) -> list[Summary]:
    """The `limit` most recent conversations, newest first."""
    found: dict[str, Summary] = {}
    for path in files_by_age(directory):
        for number, record in enumerate(records(path)):
            name = record["conversation_id"]
            if name not in found:
                if len(found) >= limit:
                    break  # older files may still belong to a conversation that is shown
                found[name] = Summary(name)
            if number == 0:
                found[name].files.append(path)
            found[name].add(record)
    return sorted(found.values(), key=lambda summary: summary.last, reverse=True)


def find(directory: Path, wanted: str) -> tuple[list[str], list[Record]]:
    """The ids that `wanted` may mean, and if there is only one, all its records.

    That is an exact match, else those that begin with it, else those that contain it; `last` is the most recent one.
    """
    if wanted == LAST:
        newest = summaries(directory, 1)
        if not newest:
            return [], []
        wanted = newest[0].id
    by_id: dict[str, list[Path]] = {}
    for path in reversed(files_by_age(directory)):
        first = next(records(path), None)
        if first is not None and wanted in str(first["conversation_id"]):
            by_id.setdefault(first["conversation_id"], []).append(path)
    begin = sorted(name for name in by_id if name.startswith(wanted))
    names = [wanted] if wanted in by_id else begin or sorted(by_id)
    if len(names) != 1:
        return names, []
    merged = [record for path in by_id[names[0]] for record in records(path)]
    merged.sort(key=lambda record: str(record.get("ts") or ""))  # stable: lines of one file keep their order
    return names, merged


def _messages(record: Record) -> list[dict[str, Any]]:
    messages = record.get("messages")
    return [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []


def text_of(message: dict[str, Any]) -> str:
    """The text of a message; other parts as their kind."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(
        part["text"] if isinstance(part.get("text"), str) else f"[{part.get('type')}]"
        for part in (content if isinstance(content, list) else ())
        if isinstance(part, dict)
    )


def _mark(role: Any, text: str, calls: Any) -> tuple[str, str, int]:
    return str(role), text.strip(), len(calls) if isinstance(calls, list) else 0


class ShownMessages:
    """The part of a conversation that has already been shown, so that nothing is shown twice."""

    def __init__(self) -> None:
        self._shown: Counter[tuple[str, str, int]] = Counter()

    def new_messages(self, request: Record) -> list[dict[str, Any]]:
        """The new messages of `request`; at least its last one."""
        messages = _messages(request)
        seen: Counter[tuple[str, str, int]] = Counter()
        new: list[dict[str, Any]] = []
        for message in messages:
            mark = _mark(message.get("role"), text_of(message), message.get("tool_calls"))
            seen[mark] += 1
            if seen[mark] > self._shown[mark]:
                new.append(message)
        for mark, count in seen.items():
            self._shown[mark] = max(self._shown[mark], count)
        return new or messages[-1:]

    def answered(self, response: Record) -> None:
        """An answer was shown: the next request will contain it."""
        self._shown[_mark("assistant", str(response.get("content") or ""), response.get("tool_calls"))] += 1
