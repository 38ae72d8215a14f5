"""Tool calls in the records are those that the agent would run: both read provider streams the same way."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.records.reading.answer import MAX_CALLS, RecordedAnswer
from openai_proxy.records.reading.answer_formats import CHAT
from openai_proxy.records.reading.stream import RecordedStreamReader

Entry = dict[str, Any]


def chunk(entry: Entry) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [entry]}, "finish_reason": None}]}


def answered(entries: list[Entry], size: int = 1 << 20) -> RecordedAnswer:
    stream = b"".join(b"data: " + orjson.dumps(chunk(entry)) + b"\n\n" for entry in entries)
    answer = RecordedAnswer()
    reader = RecordedStreamReader(answer, CHAT)
    for start in range(0, len(stream), size):
        reader.feed(stream[start : start + size])
    reader.finish()
    return answer


def recorded(entries: list[Entry], size: int = 1 << 20) -> list[tuple[str, str]]:
    answer = answered(entries, size)
    return [(c["function"]["name"], c["function"]["arguments"]) for c in answer.tool_calls]


def run(entries: list[Entry]) -> list[tuple[str, str]]:
    fold = MessageFold()
    for entry in entries:
        fold.feed(chunk(entry))
    calls = fold.message().get("tool_calls", ())
    return [(c["function"]["name"], c["function"]["arguments"]) for c in calls]


def piece(arguments: Any, name: str | None = None, **members: Any) -> Entry:
    return {**members, "function": {"arguments": arguments, **({"name": name} if name else {})}}


CASES: dict[str, list[Entry]] = {
    "all of them with index 0": [piece('{"a":1}', "f", index=0), piece('{"b":2}', "g", index=0)],
    "a fresh id in each fragment": [
        piece("", "f", index=0, id="1"), piece('{"a"', index=0, id="2"), piece(":1}", index=0, id="3"),
    ],
    "ids, and no index": [piece('{"a":1}', "f", id="1"), piece('{"b":2}', "g", id="2")],
    "neither id nor index": [piece('{"a":1}', "f"), piece('{"b":2}', "g")],
    "the name in fragments": [piece("", "get_", index=0, id="1"), piece("{}", "weather", index=0, id="1")],
    "the name in each fragment": [piece('{"a"', "f", index=0), piece(":1}", "f", index=0)],
    "an object": [piece({"a": 1}, "f", index=0)],
    "null": [piece("null", "f", index=0), piece('{"a":1}', index=0)],
    "index as text": [piece('{"a"', "f", index="1"), piece(":1}", index=1)],
    "many fragments, then another call with the same index": [
        piece("", "f", index=0), *[piece(f'{"{" if n == 0 else ""}"k{n}":1,', index=0) for n in range(200)],
        piece('"z":1}', index=0), piece("", "g", index=0), *[piece(part, index=0) for part in '{"a":12345678}'],
    ],
}  # fmt: skip


TWO = {
    "all of them with index 0", "ids, and no index", "neither id nor index",
    "many fragments, then another call with the same index",
}  # fmt: skip


@pytest.mark.parametrize("size", [1 << 20, 4096, 7])
@pytest.mark.parametrize("name", CASES)
def test_the_record_has_the_calls_that_run(name: str, size: int) -> None:
    calls = run(CASES[name])
    assert recorded(CASES[name], size) == calls
    assert len(calls) == (2 if name in TWO else 1)


entries = st.builds(
    piece,
    st.sampled_from(["{", "}", '{"a":', "1}", '{"a":1}', '"', "x", {"a": 1}]),
    st.sampled_from([None, None, "f", "g"]),
    index=st.sampled_from([None, 0, 0, 1, "1", -1]),
    id=st.sampled_from([None, None, "1", "2"]),
)


@given(st.lists(entries, min_size=1, max_size=30), st.integers(1, 300))
def test_records_and_agent_read_any_stream_the_same(found: list[Entry], size: int) -> None:
    assert recorded(found, size) == run(found)


@pytest.mark.parametrize("size", [1 << 20, 7])
def test_calls_over_the_limit_are_left_out_and_earlier_ones_continue(size: int) -> None:
    begun = [piece('{"n"', f"f{n}", index=n, id=f"c{n}") for n in range(MAX_CALLS)]
    over = [piece("{", "g", index=MAX_CALLS + n, id=f"d{n}") for n in range(3)]
    more = [piece("x", index=MAX_CALLS + n % 3) for n in range(30)]
    more += [piece(f":{n}}}", index=n) for n in range(MAX_CALLS)]
    again = [piece("{", "h", index=0, id="e"), *[piece("y", index=0)] * 30, piece("z")]
    answer = answered([*begun, *over, *more, *again], size)
    assert [(call["id"], call["function"]) for call in answer.tool_calls] == [
        (f"c{n}", {"name": f"f{n}", "arguments": f'{{"n":{n}}}'}) for n in range(MAX_CALLS)
    ]
    assert answer.left_out == 3 + 30 + 32
    assert answer.size == answer.left_out + sum(len(call["function"]["arguments"]) for call in answer.tool_calls)


def test_the_calls_of_all_choices_are_counted_together() -> None:
    answer = RecordedAnswer()
    calls = [(choice, n) for choice in (0, 1) for n in range(MAX_CALLS - 9)]
    for part in ('{"a"', ":1}"):
        for choice, n in calls:
            entry = piece(part, "f" if part[0] == "{" else None, index=n)
            CHAT.event(answer, {"choices": [{"index": choice, "delta": {"tool_calls": [entry]}}]})
    assert [call["function"]["arguments"] for call in answer.tool_calls] == ['{"a":1}'] * MAX_CALLS
    assert answer.left_out == 7 * (len(calls) - MAX_CALLS)
