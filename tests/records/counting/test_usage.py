"""What was used, by whom, and at what cost."""

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from openai_proxy.cli.usage import command, table
from openai_proxy.errors import BadRequest
from openai_proxy.exchange import Caller, Exchange, Outcome
from openai_proxy.records.counting.prices import Prices
from openai_proxy.records.counting.usage import Usage, first_day
from openai_proxy.records.reading.tokens import OtherTokens, Tokens, read_usage
from openai_proxy.records.recording.service import USAGE_FILE, Records
from tests.records.conftest import JSON, SSE, event, exchange

PRICES = {"gpt-4o": {"input": 2.5, "cached_input": 1.25, "output": 10}, "claude*": SimpleNamespace(input=3, output=15)}


def ask(records: Records, usage: object, about: Exchange | None = None) -> None:
    about = about or exchange()
    entry = records.open(about)
    entry.request(b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}')
    entry.response(200, JSON)
    entry.data(json.dumps({"choices": [{"message": {"content": "hello"}}], "usage": usage}).encode())
    entry.close(Outcome.DONE)


@pytest.fixture
def records(tmp_path: Path):  # type: ignore[no-untyped-def]
    found = Records(tmp_path / "logs", tmp_path / "state")
    found.configure(prices=Prices(PRICES))
    yield found
    found.close()


def test_token_counts_of_every_api_are_read() -> None:
    chat = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
        "cost": 0.5,
    }
    assert read_usage(chat) == Tokens(10, 5, 4, 3, cost=0.5)
    responses = {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_tokens_details": {"cached_tokens": 4},
    }
    assert read_usage(responses) == Tokens(10, 5, 4, 0)
    claude = {"input_tokens": 10, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 2, "output_tokens": 5}
    assert read_usage(claude) == Tokens(42, 5, 30, 0, other=OtherTokens(cache_write=2))
    assert read_usage({"prompt_tokens": "many", "completion_tokens": None, "input_tokens": True}) == Tokens()
    assert read_usage({"prompt_tokens": -5, "x": 1, "y": 2, "z": {"a": 1}}) == Tokens()


def test_usage_is_kept_by_day_group_key_model_and_connection(records: Records, tmp_path: Path) -> None:
    anna = Caller("10.0.0.1", group="family", key_id="aaaaaaaaaaaa")
    ask(records, {"prompt_tokens": 100, "completion_tokens": 10}, exchange(caller=anna))
    ask(records, {"prompt_tokens": 100, "completion_tokens": 10}, exchange(caller=anna, created_at=86400.0 * 365))
    ask(records, {"prompt_tokens": 7, "completion_tokens": 1}, exchange(model="claude-3", connection="anthropic"))
    assert records.recorder.flush()
    by_group = records.usage_report("group")
    assert [(row["group"], row["input_tokens"]) for row in by_group["rows"]] == [("", 7), ("family", 200)]
    assert by_group["total"]["requests"] == 3
    assert by_group["total"]["cost"] == pytest.approx(2 * (250e-6 + 100e-6) + 21e-6 + 15e-6)
    both = records.usage_report("key, model,connection")
    assert {(r["key"], r["model"], r["connection"]) for r in both["rows"]} == {
        ("aaaaaaaaaaaa", "gpt-4o", "openrouter"),
        ("", "claude-3", "anthropic"),
    }
    assert records.usage_report("day", "2d")["total"]["requests"] == 2
    assert (tmp_path / "state" / USAGE_FILE).stat().st_mode & 0o777 == 0o600


def test_missing_token_counts_are_estimated_and_marked(records: Records) -> None:
    entry = records.open(exchange())
    entry.request(b'{"messages": [{"role": "user", "content": "' + b"word " * 100 + b'"}]}')
    entry.response(200, SSE)
    entry.data(event("answer " * 10))
    entry.close(Outcome.CLIENT_CLOSED)
    assert records.recorder.flush()
    total = records.usage_report()["total"]
    assert total["estimated_requests"] == 1
    assert 100 <= total["input_tokens"] < 200
    assert 10 < total["output_tokens"] < 30


def test_failed_requests_cost_nothing(records: Records) -> None:
    entry = records.open(exchange())
    entry.request(b'{"messages": []}')
    entry.response(500, JSON)
    entry.data(b'{"error": {"message": "no"}}')
    entry.close(Outcome.DONE)
    entry = records.open(exchange(connection=None))
    entry.close(Outcome.ERROR, "model_not_found")
    assert records.recorder.flush()
    assert records.usage_report()["total"]["requests"] == 0


def test_counting_goes_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        records = Records(tmp_path / "logs", tmp_path / "state")
        ask(records, {"prompt_tokens": 5})
        records.close()
    assert Usage(tmp_path / "state" / USAGE_FILE).report()["total"]["input_tokens"] == 10


def test_a_database_that_cannot_be_written_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file stands here")
    records = Records(tmp_path / "logs", tmp_path / "state")
    ask(records, {"prompt_tokens": 5})
    assert records.recorder.flush()
    assert "usage could not be written" in caplog.text
    (tmp_path / "state").unlink()
    assert records.usage_report()["total"]["input_tokens"] == 5
    records.close()
    with sqlite3.connect(tmp_path / "state" / USAGE_FILE) as book:
        assert book.execute("SELECT sum(input) FROM usage").fetchone() == (5,)
    book.close()


def test_limits_hear_of_every_exchange(records: Records) -> None:
    heard: list[tuple[str, int, bool, bool]] = []
    records.listen(lambda about, tokens, paid, over: heard.append((about.id, tokens.total, paid, over)))
    about = exchange()
    ask(records, {"prompt_tokens": 5, "completion_tokens": 2}, about)
    assert records.recorder.flush()
    assert heard == [(about.id, 7, True, True)]


def test_invalid_groupings_and_days_are_refused(records: Records) -> None:
    with pytest.raises(BadRequest, match="cannot be grouped by 'colour'"):
        records.usage_report("colour")
    for wrong in ("yesterday", "2026-13-01", "d", "-3d"):
        with pytest.raises(BadRequest):
            first_day(wrong)
    assert first_day("2026-11-01") == "2026-11-01"
    assert first_day(None) is None


def test_the_command_reads_the_database_when_no_daemon_runs(records: Records, tmp_path: Path) -> None:
    ask(records, {"prompt_tokens": 1234, "completion_tokens": 10})
    assert records.recorder.flush()
    run = CliRunner().invoke(command, ["--by", "model,connection", "--state-dir", str(tmp_path / "state")])
    assert run.exit_code == 0, run.output
    head, row, total = run.output.splitlines()
    assert head.split() == [
        "MODEL",
        "CONNECTION",
        "REQUESTS",
        "INPUT",
        "CACHED",
        "OUTPUT",
        "REASONING",
        "COST",
        "(USD)",
    ]
    assert row.split() == ["gpt-4o", "openrouter", "1", "1,234", "0", "10", "0", "0.0032"]
    assert total.split()[0] == "total"
    as_json = CliRunner().invoke(command, ["--json", "--state-dir", str(tmp_path / "state")])
    assert json.loads(as_json.output)["total"]["input_tokens"] == 1234


def test_the_command_reports_that_there_is_nothing(tmp_path: Path) -> None:
    run = CliRunner().invoke(command, ["--state-dir", str(tmp_path)])
    assert isinstance(run.exception, BadRequest)


def test_estimates_are_mentioned_below_the_table() -> None:
    total = dict.fromkeys(("requests", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), 1)
    report = {"by": ["day"], "rows": [], "total": {**total, "cost": 0.0, "estimated_requests": 1}}
    assert "estimated" in table(report)[-1]


def test_the_table_shows_what_is_unknown() -> None:
    sums = dict.fromkeys(("requests", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), 2)
    known = {**sums, "day": "a", "cost": 0.5, "unpriced_requests": 0, "estimated_requests": 0}
    unknown = {**known, "day": "b", "cost": None, "unpriced_requests": 2}
    some = {**known, "day": "c", "unpriced_requests": 1}
    report = {
        "by": ["day"],
        "currency": "EUR",
        "rows": [known, unknown, some],
        "total": {**some, "unpriced_requests": 3},
    }
    head, first, second, third, total, note = table(report)
    assert head.endswith("COST (EUR)")
    assert first.split()[-1] == "0.5000"
    assert second.split()[-1] == "unknown"
    assert third.split()[-3:] == total.split()[-3:] == ["0.5000", "+", "?"]
    assert note.startswith("3 of these requests have no known price")


def test_realtime_and_transcriptions_have_other_names_for_details() -> None:
    usage = {"input_tokens": 14, "output_tokens": 45, "total_tokens": 59, "input_token_details": {"audio_tokens": 14},
             "output_token_details": {"audio_tokens": 9}}  # fmt: skip
    other = read_usage(usage).other
    assert other is not None
    assert (other.audio_input, other.audio_output) == (14, 9)
