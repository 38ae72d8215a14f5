"""A recorder with its own directory, and helpers for the tests of this folder."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.endpoints import at
from openai_proxy.exchange import Caller, Exchange, Outcome
from openai_proxy.records.recording.recorder import Recorder
from openai_proxy.records.recording.recorder_thread import RecordWriter

_ids = itertools.count(1)


def exchange(path: str = "/chat/completions", **members: Any) -> Exchange:
    """A request as the endpoint would describe it."""
    caller = members.pop("caller", Caller("192.168.1.7"))
    members.setdefault("model", "gpt-4o")
    members.setdefault("connection", "openrouter")
    return with_members(Exchange(f"req-{next(_ids)}", caller, "POST", at(path)), **members)


def with_members(exchange: Exchange, **members: Any) -> Exchange:
    """`exchange` with these members changed."""
    for name, value in members.items():
        setattr(exchange, name, value)
    return exchange


def event(content: str | None = None, finish: str | None = None, **members: Any) -> bytes:
    """One chat.completion.chunk as a server-sent event."""
    delta: dict[str, Any] = {} if content is None else {"content": content}
    delta.update(members.pop("delta", {}))
    body = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **members}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
SSE = ((b"Content-Type", b"text/event-stream; charset=utf-8"),)
JSON = ((b"content-type", b"application/json"),)


class Desk:
    """A recorder and what it wrote."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer = RecordWriter(directory)
        self.recorder = Recorder(self.writer)

    def ask(
        self,
        answer: bytes,
        messages: Any = None,
        *,
        about: Exchange | None = None,
        headers: Any = JSON,
        status: int = 200,
        outcome: Outcome = Outcome.DONE,
        body: dict[str, Any] | None = None,
        cut: int = 1 << 30,
        **members: Any,
    ) -> Exchange:
        """One whole exchange with its answer in pieces of `cut` bytes."""
        about = about or exchange(**members)
        entry = self.recorder.open(about)
        messages = messages if messages is not None else [{"role": "user", "content": "hi"}]
        entry.request(json.dumps({"model": about.model, "messages": messages, **(body or {})}).encode())
        entry.response(status, headers)
        for start in range(0, len(answer), cut):
            entry.data(answer[start : start + cut])
        entry.close(outcome)
        return about

    def lines(self) -> list[dict[str, Any]]:
        """Every record on disk in chronological order."""
        found = [json.loads(line) for p in self.files() for line in p.read_bytes().splitlines()]
        return sorted(found, key=lambda record: record["ts"])

    def files(self) -> list[Path]:
        """The log files, once everything is written."""
        assert self.recorder.flush()
        return sorted(self.directory.glob("*.jsonl"))

    def response(self) -> dict[str, Any]:
        """The only response on disk."""
        (record,) = [r for r in self.lines() if r["type"] == "response"]
        return record


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path / "logs")
    yield found
    found.recorder.close()
    assert found.writer.failed == 0


@pytest.fixture
def fold() -> Callable[..., Any]:
    """Fold an answer without a recorder: bytes, path, media type, framing, coding -> Answer."""
    from openai_proxy.records.reading.answer import RecordedAnswer
    from openai_proxy.records.reading.answer_formats import format_of
    from openai_proxy.records.reading.body import BodyReader

    def folded(
        data: bytes,
        *,
        path: str = "/chat/completions",
        kind: str = "text/event-stream",
        framing: str = "plain",
        coding: str = "",
        cuts: tuple[int, ...] = (),
    ) -> RecordedAnswer:
        answer = RecordedAnswer()
        reader = BodyReader(answer, format_of(at(path)), kind, coding)
        places = [0, *sorted(c for c in cuts if c < len(data)), len(data)]
        for start, stop in itertools.pairwise(places):
            reader.feed(data[start:stop])
        reader.finish()
        return answer

    return folded
