"""The short way writes the same lines as the general way."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_proxy.endpoints import at
from openai_proxy.exchange import Attempt, Caller, Exchange, Outcome, Target
from openai_proxy.records.recording.entry import Entry
from openai_proxy.records.recording.service import Records
from openai_proxy.records.recording.short_line import Express, milliseconds
from tests.records.conftest import JSON, with_members

VALUES = st.sampled_from([None, "", "text", 7, [], [{"type": "text", "text": "x"}], {}, "\u2028é", {"a": 1}])
USAGE = st.sampled_from([None, {}, {"prompt_tokens": 3, "completion_tokens": 4}, {"prompt_tokens": "x"}, 5])
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@st.composite
def answers(draw: st.DrawFn) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": draw(VALUES)}
    for key in draw(
        st.lists(st.sampled_from(["reasoning", "refusal", "reasoning_content", "annotations"]), max_size=2)
    ):
        message[key] = draw(VALUES)
    if draw(st.integers(0, 5)) == 0:
        message["tool_calls"] = draw(st.sampled_from([[CALL], [], None]))
    choice = {"index": 0, "message": message, "finish_reason": draw(st.sampled_from(["stop", "length", None, ""]))}
    body: dict[str, Any] = {"id": "i", "model": "m", "choices": [choice] * draw(st.integers(0, 2)) or [choice]}
    body["usage"] = draw(USAGE)
    if draw(st.integers(0, 9)) == 0:
        body["error"] = draw(VALUES)
    return body


def recorded(tmp_path: Path, short: bool, entry_of: Any) -> tuple[list[Any], Any, Any]:
    records = Records(tmp_path / "logs", tmp_path / "state")
    if not short:
        records.recorder.writer.detailed = lambda: 1
    entry_of(records).close(Outcome.DONE)
    assert records.recorder.flush()
    usage = records.usage_report("model,key")
    records.close()
    lines = [json.loads(line) for p in (tmp_path / "logs").glob("*.jsonl") for line in p.read_bytes().splitlines()]
    for path in (tmp_path / "logs").glob("*.jsonl"):
        path.unlink()
    (tmp_path / "state" / "usage.sqlite3").unlink(missing_ok=True)
    return lines, usage, (records.metrics.requests, records.metrics.tokens)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(
    answers(),
    st.fixed_dictionaries({"content": VALUES}),
    st.sampled_from([{}, {"tools": [CALL]}, {"stream": None}]),
    st.sampled_from(["", "a", "ab"]),
    st.sampled_from([None, "k"]),
)
def test_both_ways_write_the_same_line(
    tmp_path: Path, answer: Any, message: Any, more: dict[str, Any], attempts: str, key: str | None
) -> None:
    def entry_of(records: Records) -> Entry:
        about = with_members(
            Exchange("r1", Caller("10.0.0.1", group="g", key_id=key), "POST", at("/chat/completions")),
            model="gpt",
            session_id="s",
            connection="c",
            upstream_model="up",
            attempts=[Attempt(Target(name)) for name in attempts],
            started=100.0,
            created_at=1_700_000_000.0,
            first_byte=100.25,
            ended=101.5,
        )
        entry = records.open(about)
        entry.request(json.dumps({"model": "gpt", "messages": [{"role": "user", **message}], **more}).encode())
        entry.response(200, JSON)
        entry.data(json.dumps(answer).encode())
        return entry

    assert recorded(tmp_path, True, entry_of) == recorded(tmp_path, False, entry_of)


def test_the_common_case_takes_the_short_way(tmp_path: Path) -> None:
    records = Records(tmp_path / "logs", tmp_path / "state")
    express = Express(records.recorder.writer.conversations)
    taken = []
    for content in ("hello", None):
        about = Exchange("r", Caller("::1"), "POST", at("/chat/completions"), model="m")
        entry = Entry(records.recorder, about, wanted=True, limit=4096)
        entry.request(b'{"messages": [{"role": "user", "content": "hi"}]}')
        entry.response(200, JSON)
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        entry.data(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1}}).encode())
        about.outcome, about.ended = Outcome.DONE, about.first_byte  # as `close` does, without calling the recorder
        taken.append(express.record(entry))
    records.close()
    assert taken == [True, False]


def test_sums_equal_those_of_each_exchange(tmp_path: Path) -> None:
    found = []
    for short in (True, False):
        records = Records(tmp_path / f"logs{short}", tmp_path / f"state{short}")
        if not short:
            records.recorder.writer.detailed = lambda: 1
        for number in range(60):
            about = Exchange("r", Caller("::1"), "POST", at("/chat/completions"), f"m{number % 2}", connection="c")
            about.started, about.first_byte, about.ended = 0.0, number / 50, number * 6.0
            entry = records.open(about)
            entry.request(b'{"messages": [{"role": "user", "content": "hi"}], "user": "me"}')
            entry.response(200, JSON)
            choice = {"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": number, "prompt_tokens_details": {"cached_tokens": number // 2}, "a": 1, "b": 2}
            entry.data(json.dumps({"choices": [choice], "usage": usage}).encode())
            entry.close(Outcome.DONE)
        assert records.recorder.flush()
        report = records.usage_report("model,connection")
        records.close()
        counted = records.metrics
        times = {pair: (h.counts, round(h.total, 6)) for pair, h in counted.durations.items()}
        firsts = {pair: (h.counts, round(h.total, 6)) for pair, h in counted.first_bytes.items()}
        found.append((report, counted.requests, counted.tokens, times, firsts))
    assert found[0] == found[1]
    assert found[0][1] == {("m0", "c", "2xx"): 30, ("m1", "c", "2xx"): 30}


def test_a_name_that_is_not_text_is_left_to_the_general_way(tmp_path: Path) -> None:
    records = Records(tmp_path / "logs", tmp_path / "state")
    about = Exchange("r", Caller("::1"), "POST", at("/chat/completions"), model="m", session_id="\udce9t\udce9")
    entry = records.open(about)
    entry.request(b'{"messages": []}')
    entry.response(200, JSON)
    choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
    entry.data(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1}}).encode())
    entry.close(Outcome.DONE)
    records.close()
    (path,) = (tmp_path / "logs").iterdir()
    assert [json.loads(line)["type"] for line in path.read_bytes().splitlines()] == ["request", "response"]


@given(st.floats(0, 1e6))
def test_times_have_one_decimal(seconds: float) -> None:
    text = milliseconds(seconds).decode()
    assert text.partition(".")[2].isdigit()
    assert len(text.partition(".")[2]) == 1
    assert abs(float(text) - seconds * 1000) <= 0.0501 + seconds * 1e-12
