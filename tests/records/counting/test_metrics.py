"""/metrics, read back by Prometheus's own parser."""

import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from openai_proxy.exchange import Outcome
from openai_proxy.records.counting.metrics import MAX_SERIES, Metrics
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.service import Records
from tests.records.conftest import JSON, exchange


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_counts_are_on_the_page(tmp_path: Path) -> None:
    records = Records(tmp_path / "logs", tmp_path / "state")
    records.metrics.watch("config_generation", "Generation.", lambda: 3)
    records.metrics.watch(
        "mcp_server_up", "1 if ready.", lambda: {("home", "ready"): 1, ("x", "backoff"): 0}, labels=("server", "state")
    )
    for status in (200, 200, 429):
        entry = records.open(exchange(model='a"b\\c\nd'))
        entry.request(b'{"messages": []}')
        entry.response(status, JSON)
        entry.data(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')
        entry.close(Outcome.DONE)
    entry = records.open(exchange())
    assert records.recorder.flush()
    page, kind = records.metrics_page()
    assert kind.startswith("text/plain")
    found = samples(page)
    labels = (("connection", "openrouter"), ("model", 'a"b\\c\nd'))
    assert found["openai_proxy_requests_total", (*labels, ("status", "2xx"))] == 2
    assert found["openai_proxy_requests_total", (*labels, ("status", "4xx"))] == 1
    assert found["openai_proxy_tokens_total", (labels[0], ("kind", "input"), labels[1])] == 15
    assert found["openai_proxy_active_requests", ()] == 1
    assert found["openai_proxy_request_duration_seconds_count", labels] == 3
    assert found["openai_proxy_request_duration_seconds_bucket", (labels[0], ("le", "+Inf"), labels[1])] == 3
    assert found["openai_proxy_time_to_first_byte_seconds_count", labels] == 3
    assert found["openai_proxy_config_generation", ()] == 3
    assert found["openai_proxy_mcp_server_up", (("server", "home"), ("state", "ready"))] == 1
    assert found["openai_proxy_log_lines_written_total", ()] == 6
    assert found["openai_proxy_log_lines_lost_total", ()] == 0
    assert found["process_resident_memory_bytes", ()] > 1e6
    entry.close(Outcome.DONE)
    records.close()


def test_invented_model_names_do_not_fill_memory() -> None:
    metrics = Metrics()
    for n in range(MAX_SERIES * 3):
        about = exchange(model=f"m{n}")
        about.ended = about.started
        metrics.finished(about, 200, Tokens(1, 1), None)
    assert len(metrics.durations) <= MAX_SERIES + 1
    assert metrics.requests["other", "openrouter", "2xx"] == MAX_SERIES * 2


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = "prometheus_client sqlite3 json.tool difflib"
    code = (
        f"import sys, openai_proxy.records.recording.service; print([m for m in {heavy.split()} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
