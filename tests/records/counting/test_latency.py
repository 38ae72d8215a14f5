"""How long answers took, hour by hour."""

from pathlib import Path

import pytest

from openai_proxy.endpoints import at
from openai_proxy.errors import BadRequest
from openai_proxy.exchange import Caller, Exchange
from openai_proxy.records.counting.latency import HOUR, KEPT, LOOK, SAVE, LatencyHistory, percentile
from openai_proxy.records.counting.metrics import DURATIONS, Metrics
from openai_proxy.records.reading.tokens import Tokens

CHAT = at("/chat/completions")
TEN = 10 * 24 * HOUR


class Clock:
    """A clock set by the test, for wall-clock and monotonic time."""

    def __init__(self) -> None:
        self.at = float(TEN)

    def __call__(self) -> float:
        return self.at


def answered(metrics: Metrics, first: float, whole: float, model: str | None = "m") -> None:
    exchange = Exchange("r", Caller("127.0.0.1"), "POST", CHAT, model=model, connection="c")
    exchange.first_byte, exchange.ended = exchange.started + first, exchange.started + whole
    metrics.finished(exchange, 200, Tokens(), None)


def history(path: Path, metrics: Metrics, clock: Clock) -> LatencyHistory:
    return LatencyHistory(path / "latency.json", metrics, clock, clock)


def test_each_hour_has_its_own_times(tmp_path: Path) -> None:
    metrics, clock = Metrics(), Clock()
    kept = history(tmp_path, metrics, clock)
    assert kept.report()["rows"] == []
    for _ in range(3):
        answered(metrics, 0.2, 2.0)
    answered(metrics, 0.2, 2.0, model=None)  # requests without a model do not count
    clock.at += HOUR - 1
    kept.settle(False)
    answered(metrics, 20.0, 100.0)
    clock.at += LOOK
    kept.settle(False)
    first, second = kept.report()["rows"]
    assert (first["at"], first["requests"]) == (TEN, 3)
    assert 0.1 < first["first_p50"] <= first["first_p95"] <= 0.25
    assert 1.0 < first["p50"] <= first["p95"] <= 2.5
    assert (second["at"], second["requests"]) == (TEN + HOUR, 1)
    assert 10 < second["first_p50"] <= 30
    (day,) = kept.report("30d", "day")["rows"]
    assert (day["at"], day["requests"]) == (TEN, 4)


def test_times_are_collected_once_a_minute(tmp_path: Path) -> None:
    metrics, clock = Metrics(), Clock()
    kept = history(tmp_path, metrics, clock)
    assert kept.settle(False) is None, "nothing was measured, so nothing is due"
    answered(metrics, 1, 1)
    clock.at += 10
    assert kept.settle(False) == LOOK - 10
    clock.at += LOOK - 10
    assert kept.settle(False) == SAVE - LOOK, "the next write of the file must be due"
    clock.at += SAVE
    assert kept.settle(False) is None


def test_queries_include_the_current_minute(tmp_path: Path) -> None:
    metrics, clock = Metrics(), Clock()
    kept = history(tmp_path, metrics, clock)
    for number in (1, 2):
        answered(metrics, 1, 1)
        assert kept.report()["rows"][0]["requests"] == number
    clock.at += LOOK
    kept.settle(False)
    assert kept.report()["rows"][0]["requests"] == 2, "collected requests must not be counted twice"


def test_times_survive_a_restart_and_are_dropped_after_a_month(tmp_path: Path) -> None:
    metrics, clock = Metrics(), Clock()
    kept = history(tmp_path, metrics, clock)
    answered(metrics, 1, 1)
    kept.settle(True)
    again, fresh = history(tmp_path, Metrics(), clock), Metrics()
    assert again.report()["rows"] == kept.report()["rows"]
    later = history(tmp_path, fresh, clock)
    clock.at += KEPT * HOUR
    answered(fresh, 1, 1)
    later.settle(True)
    assert [row["at"] for row in later.report("9999d")["rows"]] == [TEN + KEPT * HOUR]


@pytest.mark.parametrize(
    "text", ['{"version": 1, "hours": {"x": []}}', '{"version": 1, "hours": {"5": [[1], [2]]}}', "{"]
)
def test_a_file_that_cannot_be_read_is_not_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "latency.json").write_text(text)
    assert history(tmp_path, Metrics(), Clock()).report("9999d")["rows"] == []


@pytest.mark.parametrize(("since", "by"), [("1h", "hour"), ("", "hour"), ("-1d", "hour"), ("1d", "week")])
def test_invalid_queries(tmp_path: Path, since: str, by: str) -> None:
    with pytest.raises(BadRequest):
        history(tmp_path, Metrics(), Clock()).report(since, by)


def test_percentiles_lie_in_their_bucket() -> None:
    counts = [0] * (len(DURATIONS) + 1)
    assert percentile(counts, 0.5) is None
    counts[0], counts[-1] = 1, 1
    assert percentile(counts, 0.5) == DURATIONS[0]
    assert percentile(counts, 1.0) == pytest.approx(2 * DURATIONS[-1])
    counts = [0, 0, 0, 10, *([0] * (len(DURATIONS) - 3))]
    found = [percentile(counts, share / 100) or 0.0 for share in range(0, 101, 10)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(DURATIONS[2])
    assert found[-1] == pytest.approx(DURATIONS[3])
