"""Requests read from the chat logs, newest first, whatever the files look like."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.admin import request_history
from openai_proxy.admin.conversation_view import request_record, view
from openai_proxy.admin.request_history import Filter, conversation_of, lines_backwards, recent
from openai_proxy.records.writing.chatlog import stamp
from openai_proxy.records.writing.names import file_name

BEGIN = 1_790_000_000.0
ALL = Filter()


class Logs:
    """Chat logs as the recorder writes them, one exchange per minute."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.number = 0

    def exchange(self, conversation: str = "c1", model: str = "m", text: str = "hello", **ending: Any) -> str:
        """A request and its end; returns the request's id."""
        name = f"r{self.number}"
        at = BEGIN + 60 * self.number
        self.number += 1
        about = {"request_id": name, "conversation_id": conversation, "model": model}
        request = {"type": "request", "ts": stamp(at), **about, "messages": [{"role": "user", "content": text}],
                   "stream": False, "group": "family", "api_key_id": "ab12"}  # fmt: skip
        response = {
            "type": "response", "ts": stamp(at + 1.5), **about, "content": f"you said {text}", "tool_calls": None,
            "finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            "duration_ms": 1500.0, "ttft_ms": 400.0, "status": 200, "finish": "done", "connection": "main", **ending,
        }  # fmt: skip
        self.write(conversation, model, request, response, at=at + 1.5)
        return name

    def write(self, conversation: str, model: str, *records: dict[str, Any], at: float) -> Path:
        """Lines of one file, last written `at`."""
        path = self.directory / file_name(model, conversation)
        with path.open("a") as file:
            file.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
        os.utime(path, (at, at))
        return path


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


@given(text=st.binary(max_size=400), block=st.integers(1, 60))
def test_lines_are_read_backwards_wherever_a_block_ends(text: bytes, block: int, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(text)
    before, request_history.BLOCK = request_history.BLOCK, block  # type: ignore[misc]  # a test's own block size
    try:
        assert list(lines_backwards(path)) == (text.split(b"\n")[::-1] if text else [b""])
    finally:
        request_history.BLOCK = before  # type: ignore[misc]  # restore the real size


def test_a_row_has_everything_that_a_list_shows(logs: Logs) -> None:
    logs.exchange(text="Turn on the light", attempts=[{"connection": "a"}, {"connection": "main"}])
    ((row,), more) = recent(logs.directory, 10, ALL)
    assert not more
    assert row == {
        "id": "r0", "conversation_id": "c1", "model": "m", "at": BEGIN, "asked": "Turn on the light",
        "answered": "you said Turn on the light", "stream": False, "group": "family", "key_id": "ab12", "tools": 0,
        "finished": True, "connection": "main", "upstream_model": None, "status": 200, "outcome": "done", "error": None,
        "finish_reason": "stop", "input_tokens": 3, "output_tokens": 2, "estimated": False, "duration_ms": 1500.0,
        "ttft_ms": 400.0, "attempts": 2,
    }  # fmt: skip


def test_pages_continue_where_the_last_one_ended(logs: Logs) -> None:
    for number in range(25):
        logs.exchange(conversation=f"c{number % 4}")
    seen: list[str] = []
    before = None
    while True:
        rows, more = recent(logs.directory, 7, ALL, before)
        seen += ids(rows)
        if not more:
            break
        before = (rows[-1]["at"], rows[-1]["id"])
    assert seen == [f"r{number}" for number in reversed(range(25))]


def test_two_requests_of_the_same_moment_are_both_listed(logs: Logs) -> None:
    for name in ("a", "b", "c"):
        logs.number = 0
        logs.exchange(conversation=name)
    for path, name in zip(sorted(logs.directory.iterdir()), "abc", strict=True):
        path.write_text(path.read_text().replace('"r0"', f'"r-{name}"'))
    rows, _ = recent(logs.directory, 2, ALL)
    rest, _ = recent(logs.directory, 2, ALL, (rows[-1]["at"], rows[-1]["id"]))
    assert sorted(ids(rows) + ids(rest)) == ["r-a", "r-b", "r-c"]


def test_filters(logs: Logs) -> None:
    light = logs.exchange(text="Turn on the LIGHT", model="augmented/home")
    failed = logs.exchange(text="x", type="error", code="upstream_timeout", message="too slow", status=504)
    other = logs.exchange(text="y", connection="other")
    assert ids(recent(logs.directory, 9, Filter(text="the light"))[0]) == [light]
    assert ids(recent(logs.directory, 9, Filter(text="YOU SAID Y"))[0]) == [other]
    assert ids(recent(logs.directory, 9, Filter(model="home"))[0]) == [light]
    assert ids(recent(logs.directory, 9, Filter(status="failed"))[0]) == [failed]
    assert ids(recent(logs.directory, 9, Filter(status="ok"))[0]) == [other, light]
    assert ids(recent(logs.directory, 9, Filter(connection="other"))[0]) == [other]
    assert ids(recent(logs.directory, 9, Filter(group="guests"))[0]) == []


def test_requests_without_an_outcome_and_outcomes_without_a_request(logs: Logs) -> None:
    about = {"request_id": "open", "conversation_id": "c", "model": "m"}
    logs.write("c", "m", {"type": "request", "ts": stamp(BEGIN), **about, "messages": [], "stream": True}, at=BEGIN)
    lost = {**about, "request_id": "lost"}
    logs.write("d", "m", {"type": "response", "ts": stamp(BEGIN + 9), **lost, "duration_ms": 1000}, at=BEGIN + 9)
    rows, _ = recent(logs.directory, 9, ALL)
    assert [(row["id"], row["finished"], row["at"]) for row in rows] == [
        ("lost", True, BEGIN + 8),
        ("open", False, BEGIN),
    ]


def test_an_answer_that_broke_off_is_one_row_with_its_text(logs: Logs) -> None:
    name = logs.exchange(text="long", finish="error")
    about = {"request_id": name, "conversation_id": "c1", "model": "m"}
    logs.write("c1", "m", {"type": "error", "ts": stamp(BEGIN + 1.5), **about, "code": "upstream_truncated",
                           "status": 200}, at=BEGIN + 1.5)  # fmt: skip
    ((row,), _) = recent(logs.directory, 9, ALL)
    assert (row["error"], row["answered"], row["input_tokens"]) == ("upstream_truncated", "you said long", 3)


def test_truncating_a_file_loses_only_the_truncated_line(logs: Logs) -> None:
    for _ in range(3):
        logs.exchange()
    (path,) = logs.directory.iterdir()
    whole = path.read_bytes()
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        for row in recent(logs.directory, 9, ALL)[0]:
            assert row["id"] in {"r0", "r1", "r2"}
        path.write_bytes(whole[end:])
        for row in recent(logs.directory, 9, ALL)[0]:
            assert row["id"] in {"r0", "r1", "r2"}


def test_lines_that_are_not_records_are_skipped(logs: Logs) -> None:
    logs.exchange()
    (path,) = logs.directory.iterdir()
    path.write_bytes(b'null\n[1]\n"x"\n{}\n{"type":"request"}\n\xff\xfe\n' + path.read_bytes() + b'{"type":"resp')
    assert ids(recent(logs.directory, 9, ALL)[0]) == ["r0"]


def test_a_huge_request_is_listed_by_its_beginning_and_end(logs: Logs) -> None:
    logs.exchange(text="x" * (request_history.WHOLE_LINE + 1))
    ((row,), _) = recent(logs.directory, 9, ALL)
    assert (row["id"], row["group"], row["stream"], row["at"]) == ("r0", "family", False, BEGIN)


def test_without_a_directory_there_are_no_requests(tmp_path: Path) -> None:
    assert recent(tmp_path / "missing", 9, ALL) == ([], False)
    assert view(tmp_path / "missing", "c") is None
    assert conversation_of(tmp_path / "missing", "r") is None


def test_a_conversation_shows_each_message_once(logs: Logs) -> None:
    def history() -> Iterator[dict[str, Any]]:
        for number in range(3):
            yield {"role": "user", "content": f"question {number}"}
            yield {"role": "assistant", "content": f"answer {number}"}

    told = list(history())
    for number in range(3):
        about = {"request_id": f"r{number}", "conversation_id": "home/1 é", "model": "augmented/home"}
        at = BEGIN + number
        logs.write(
            "home/1 é", "augmented/home",
            {"type": "request", "ts": stamp(at), **about, "messages": told[: 2 * number + 1]},
            {"type": "tool_call", "ts": stamp(at), **about, "tool": "light", "arguments": {"on": True},
             "result": "<b>done</b>" * 9000, "duration_ms": 12, "status": "ok"},
            {"type": "response", "ts": stamp(at), **about, "content": f"answer {number}", "usage": {}}, at=at,
        )  # fmt: skip
    found = view(logs.directory, "home/1 é")
    assert found is not None
    assert found["turns"] == 3
    items = [(item["kind"], item.get("text")) for item in found["items"] if item["kind"] != "tool_call"]
    assert items == [
        pair for number in range(3) for pair in (("message", f"question {number}"), ("answer", f"answer {number}"))
    ]
    calls = [item for item in found["items"] if item["kind"] == "tool_call"]
    assert calls[0]["arguments"] == '{"on":true}'
    assert (len(calls[0]["result"]), calls[0]["result_length"]) == (20_000, 99_000)
    assert conversation_of(logs.directory, "r1") == "home/1 é"
    record = request_record(logs.directory, "home/1 é", "r1")
    assert record is not None
    assert len(record["messages"]) == 3


def test_a_long_conversation_is_shown_from_its_end(logs: Logs) -> None:
    for _ in range(30):
        logs.exchange()
    found = view(logs.directory, "c1", limit=10)
    assert found is not None
    assert (len(found["items"]), found["items"][-1]["request_id"]) == (10, "r29")
    assert found["left_out"] > 0
