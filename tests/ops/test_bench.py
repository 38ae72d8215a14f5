"""The bench itself: it runs, notices what is missing, and its verdicts are right."""

import subprocess
import sys
from pathlib import Path

import pytest

from openai_proxy.compiled import library
from tests.bench.load import lines, quantile
from tests.bench.table import Goal, Row, missed, render

ROOT = Path(__file__).resolve().parents[2]


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.bench", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_a_goal_is_a_ratio_or_a_limit() -> None:
    rows = [
        Row("requests", "1/s", {"ours": 40.0, "nginx": 80.0, "aiohttp": 9.0}, (Goal(">=", 0.4, "nginx"),)),
        Row("memory", "KiB", {"ours": 30.0}, (Goal("<=", 25),)),
        Row("latency", "ms", {"ours": 3.0}, (Goal("<=", 2, "nginx"),)),  # nginx was not measured: no verdict
    ]
    assert missed(rows) == ["memory: 30, wanted <= 25"]
    table = render(rows, ["nginx", "ours"])
    assert "0.5 yes" in table
    assert "30 NO" in table


def test_quantiles_of_empty_and_other_lists() -> None:
    assert quantile([], 0.5) != quantile([], 0.5)  # NaN
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0], 0.99) == 3.0


def test_log_lines_are_counted_by_type(tmp_path: Path) -> None:
    (tmp_path / "m_c.jsonl").write_text('{"type":"request","messages":[]}\n{"type": "response"}\n{"type":"error"}\n')
    assert lines(tmp_path) == {"request": 1, "response": 1, "error": 1}


def test_it_lists_its_cases_and_refuses_unknown_ones() -> None:
    assert "throughput" in bench("--list").stdout
    refused = bench("thruput")
    assert (refused.returncode, "thruput" in refused.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_it_measures_the_proxy_and_checks_its_log() -> None:
    done = bench("gone", "--quick", "--only", "ours")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "client gone in mid-stream" in done.stdout
    assert f"openai_proxy {'compiled' if library().exists() else 'interpreted'}, load by" in done.stdout
    assert "chat log lines lost" in done.stdout
