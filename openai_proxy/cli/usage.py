"""`openai-proxy usage`: tokens and cost, from the running daemon, else from its usage database."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from openai_proxy.cli.control import NotRunning
from openai_proxy.cli.control import ask as ask_daemon
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import say
from openai_proxy.terminal_text import printable_line

_COLUMNS = (
    ("requests", "REQUESTS"),
    ("input_tokens", "INPUT"),
    ("cached_tokens", "CACHED"),
    ("output_tokens", "OUTPUT"),
    ("reasoning_tokens", "REASONING"),
    ("cost", "COST ({})"),
)


@click.command("usage")
@click.option(
    "--by",
    default="day",
    show_default=True,
    help="month, day, group, key, model, connection, user, session, agent; several with commas.",
)
@click.option("--since", default=None, help="A date (2026-11-01), or days back (7d).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@config_dir
@state_dir
def command(by: str, since: str | None, as_json: bool, config_dir: Path, state_dir: Path) -> int:
    """Report tokens and cost by month, day, group, key, model, connection, user, session, agent."""
    report = ask(state_dir, by, since)
    if as_json:
        say(json.dumps(report, indent=2))
        return 0
    for line in table(report):
        say(line)
    return 0


def ask(state: Path, by: str, since: str | None) -> dict[str, Any]:
    """The daemon's report; if none answers, that of its database. Raises BadRequest."""
    from openai_proxy.errors import BadRequest
    from openai_proxy.records.counting.usage import Usage, first_day, groupings
    from openai_proxy.records.recording.service import USAGE_FILE

    groupings(by)
    first_day(since)
    query = urlencode({"by": by, **({"since": since} if since else {})})
    try:
        status, report = ask_daemon(state, "GET", f"/admin/usage?{query}")
    except NotRunning:
        status, report = 0, None
    if status == 200 and isinstance(report, dict):
        return report
    if not (state / USAGE_FILE).exists():
        raise BadRequest("no daemon answers here, and none has recorded any usage; is this its --state-dir?")
    return Usage(state / USAGE_FILE).report(by, since)


def table(report: dict[str, Any]) -> list[str]:
    """The report as lines of text, with the numbers aligned to the right."""
    by = [str(name) for name in report["by"]]
    currency = report.get("currency", "USD")
    head = [name.upper() for name in by] + [title.format(currency) for _, title in _COLUMNS]
    body = [[printable_line(str(row.get(name) or "-")) for name in by] + _numbers(row) for row in report["rows"]]
    total = ["total"] + [""] * (len(by) - 1) + _numbers(report["total"])
    rows = [head, *body, total]
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if n < len(by) else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    guessed = report["total"]["estimated_requests"]
    if guessed:
        lines.append(f"{guessed} of these requests were estimated: their upstream reported no usage.")
    if unpriced := report["total"].get("unpriced_requests"):
        lines.append(f"{unpriced} of these requests have no known price; it can be set in `prices` of proxy.yaml.")
    return lines


def _numbers(row: dict[str, Any]) -> list[str]:
    return [_cost(row) if name == "cost" else f"{row[name]:,}" for name, _ in _COLUMNS]


def _cost(row: dict[str, Any]) -> str:
    if row["cost"] is None:
        return "unknown"
    return f"{row['cost']:.4f}{' + ?' if row.get('unpriced_requests') else ''}"
