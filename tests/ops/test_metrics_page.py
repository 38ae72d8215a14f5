"""docs/metrics.md and the dashboard beside it: their metrics exist, and all metrics are documented."""

import json
import re

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.upstream import Upstream
from tests.ops.test_docs import PAGES, ROOT

PREFIX = "openai_proxy_"
PAGE = PAGES["docs/metrics.md"]
PROMETHEUS = {"process_resident_memory_bytes"}
"""Metrics that have the same name in every program."""

_NAMES = [name for row in re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
NAMED = {name if name in PROMETHEUS else PREFIX + name for name in _NAMES}


def test_every_metric_is_documented_and_every_documented_one_exists(
    upstream: Upstream, make_daemon: DaemonFactory
) -> None:
    conf = {"connections": {"main": connection(upstream.url)}, "prices": {"*": {"input": 1}}}
    daemon = make_daemon(conf)
    assert daemon.chat("x").status == 200
    text = daemon.control("GET", "/metrics").body.decode()
    found = {
        f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
        if not name.endswith("_created")
    }
    assert found == NAMED


def test_the_dashboard_uses_existing_metrics() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name.removesuffix("_bucket") for text in expressions for name in re.findall(rf"{PREFIX}\w+", text)}
    assert asked
    assert asked <= NAMED
