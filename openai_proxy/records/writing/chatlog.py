"""Chat logs: one file per conversation and model, one JSON object per line, for people and for `logs show`.

Lines are collected and written together, with one `write` per file, whenever the thread is idle: at most some tens of
milliseconds later.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.recording.finished_exchange import Finished
from openai_proxy.records.recording.reasons import reason
from openai_proxy.records.writing import textjson
from openai_proxy.records.writing.files import LineFiles
from openai_proxy.records.writing.names import file_name
from openai_proxy.records.writing.request_contents import params_of, tool_names
from openai_proxy.records.writing.scrub import Scrubber

SEARCHED_AT_ONCE: Final = 256 * 1024
"""Bytes up to which all lines are searched for secrets together: hardly any has one, and each search gives the
interpreter lock away.
"""

_stamps: Final[dict[int, bytes]] = {}
_seconds: Final[dict[int, bytes]] = {}


def stamp_of(seconds: float) -> bytes:
    """`seconds` since the epoch as ISO 8601 in UTC, with milliseconds. Thread-safe.

    A busy proxy ends a dozen exchanges per millisecond, so recent values are cached: 0.06 µs instead of 0.5, and 2.8
    for a new second.
    """
    millis = int(seconds * 1000)
    found = _stamps.get(millis)
    if found is None:
        if len(_stamps) >= 100:
            _stamps.clear()
        whole, rest = divmod(millis, 1000)
        second = _seconds.get(whole)
        if second is None:
            if len(_seconds) >= 10:
                _seconds.clear()
            second = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
            _seconds[whole] = second
        found = _stamps[millis] = b"%b.%03dZ" % (second, rest)
    return found


def stamp(seconds: float) -> str:
    """The same as text."""
    return stamp_of(seconds).decode()


class ChatLog:
    """The files of all conversations."""

    def __init__(self, directory: Path, scrubber: Scrubber, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.files = LineFiles(directory, clock=clock)
        self.held = 0  # bytes collected and not written yet
        self._scrubber = scrubber
        self._lines: dict[tuple[str, str], list[bytes]] = {}
        self._names: dict[tuple[str, str], str] = {}

    def request(
        self, exchange: Exchange, conversation: str, messages: Any, body: dict[str, Any], *, large: bool = False
    ) -> None:
        """The line of a request."""
        record: dict[str, Any] = {
            "type": "request",
            "ts": stamp(exchange.created_at),
            "request_id": exchange.id,
            "conversation_id": conversation,
            "model": model_of(exchange),
        }
        if params := params_of(body):
            record["params"] = params
        record["messages"] = messages
        record["stream"] = exchange.stream
        if body.get("tools"):
            record["tools"] = tool_names(body)
        caller = exchange.caller
        if caller.key_id is not None:
            record["group"] = caller.group
            record["api_key_id"] = caller.key_id
        self._add(exchange, conversation, record, large=large)

    def add(self, key: tuple[str, str], added: list[bytes]) -> None:
        """Lines from `short_line.py`. `key`: their model and conversation."""
        self.held += sum(map(len, added))
        lines = self._lines.get(key)
        if lines is None:
            self._lines[key] = added
        else:
            lines += added

    def tool_call(self, exchange: Exchange, conversation: str, at: float, payload: dict[str, Any]) -> None:
        """The line of a call of one of our tools."""
        record = self._record("tool_call", exchange, conversation, at)
        record.update(payload)
        self._add(exchange, conversation, record)

    def finished(self, finished: Finished) -> None:
        """The lines of an answer, of a failure, or of both if it failed in the middle."""
        exchange, answer = finished.exchange, finished.work.answer
        conversation = finished.work.conversation
        duration = (exchange.ended or exchange.started) - exchange.started
        at = exchange.created_at + duration
        failed = finished.error_code is not None or finished.status >= 400 or answer.error is not None
        if finished.status and (not failed or answer.size or answer.tool_calls):
            record = self._record("response", exchange, conversation, at)
            record["content"] = answer.content
            if answer.reasoning:
                record["reasoning"] = answer.reasoning
            record["tool_calls"] = answer.tool_calls
            record["finish_reason"] = answer.finish_reason
            record["usage"] = answer.usage
            if finished.tokens.estimated:
                record["usage_estimated"] = {"input": finished.tokens.input, "output": finished.tokens.output}
            record["duration_ms"] = round(duration * 1000, 1)
            record["ttft_ms"] = (
                round((exchange.first_byte - exchange.started) * 1000, 1) if exchange.first_byte is not None else None
            )
            record["status"] = finished.status
            self._ending(record, finished)
            self._add(exchange, conversation, record)
        if failed or not finished.status:
            record = self._record("error", exchange, conversation, at)
            record["status"] = finished.status or exchange.status
            record["code"] = finished.error_code
            if (why := reason(finished)) is not None:
                record["message"] = why
            if answer.error is not None:
                record["error"] = answer.error
            record["duration_ms"] = round(duration * 1000, 1)
            self._ending(record, finished)
            self._add(exchange, conversation, record)

    @staticmethod
    def _ending(record: dict[str, Any], finished: Finished) -> None:
        exchange, work = finished.exchange, finished.work
        record["finish"] = str(exchange.outcome or Outcome.DONE)
        record["connection"] = exchange.connection
        if exchange.upstream_model is not None and exchange.upstream_model != exchange.model:
            record["upstream_model"] = exchange.upstream_model
        if exchange.queued:
            record["queued_ms"] = round(exchange.queued * 1000, 1)
        if len(exchange.attempts) > 1 or any(attempt.cause for attempt in exchange.attempts):
            record["attempts"] = [attempt.summary() for attempt in exchange.attempts]
        if work.answer.malformed:
            record["malformed"] = work.answer.malformed
        if work.answer.unread:
            record["unread"] = work.answer.unread
        if work.reader is not None and work.reader.note:
            record["note"] = work.reader.note

    @staticmethod
    def _record(kind: str, exchange: Exchange, conversation: str, at: float) -> dict[str, Any]:
        return {
            "type": kind,
            "ts": stamp(at),
            "request_id": exchange.id,
            "conversation_id": conversation,
            "model": model_of(exchange),
        }

    def _add(self, exchange: Exchange, conversation: str, record: dict[str, Any], *, large: bool = False) -> None:
        data = textjson.line(record, large=large)
        self.held += len(data)
        key = (model_of(exchange), conversation)
        lines = self._lines.get(key)
        if lines is None:
            self._lines[key] = [data]
        else:
            lines.append(data)

    def flush(self) -> None:
        """Write what was collected."""
        if not self._lines:
            return
        gathered, self._lines = self._lines, {}
        small, self.held = self.held <= SEARCHED_AT_ONCE, 0
        files = {key: b"".join(lines) for key, lines in gathered.items()}
        whole = b"".join(files.values()) if small else b""
        clean = small and self._scrubber.data(whole) is whole
        for key, data in files.items():
            self.files.append(self._name(key), data if clean else self._scrubber.data(data), len(gathered[key]))

    def _name(self, key: tuple[str, str]) -> str:
        name = self._names.get(key)
        if name is None:
            if len(self._names) > 2000:
                self._names.clear()
            # A client may use its key as a session name: what is scrubbed in the line is scrubbed in the file name.
            model, conversation = (self._scrubber.text(part) for part in key)
            name = self._names[key] = file_name(model, conversation)
        return name

    def close(self) -> None:
        """Write what was collected and close the files."""
        self.flush()
        self.files.close()


def model_of(exchange: Exchange) -> str:
    """The model that a file is named after."""
    return exchange.model or exchange.upstream_model or exchange.connection or "unknown"
