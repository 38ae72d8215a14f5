"""`openai-proxy usage`: tokens and cost, from the running daemon, or from its book where none is running."""

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

CONTROL_SOCKET = "control.sock"
_COLUMNS = (
    ("requests", "REQUESTS"),
    ("input_tokens", "INPUT"),
    ("cached_tokens", "CACHED"),
    ("output_tokens", "OUTPUT"),
    ("reasoning_tokens", "REASONING"),
    ("cost", "COST"),
)


@click.command("usage")
@click.option("--by", default="day", show_default=True, help="day, group, key, model, connection; several with commas.")
@click.option("--since", default=None, help="A date (2026-11-01), or days back (7d).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--config-dir", type=click.Path(path_type=Path), default=Path("conf"), show_default=True)
@click.option("--state-dir", type=click.Path(path_type=Path), default=None, help="Default: .state beside conf.")
def command(by: str, since: str | None, as_json: bool, config_dir: Path, state_dir: Path | None) -> int:
    """Tokens and cost by day, group, key, model, connection."""
    report = ask(state_directory(config_dir, state_dir), by, since)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return 0
    for line in table(report):
        click.echo(line)
    return 0


def state_directory(config_dir: Path, state_dir: Path | None) -> Path:
    """Where the daemon of `config_dir` keeps its state: the flag, $STATE_DIRECTORY, else .state beside conf/."""
    if state_dir is not None:
        return state_dir
    named = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(named) if named else config_dir.absolute().parent / ".state"


class _Connection(http.client.HTTPConnection):
    """HTTP over the daemon's Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10.0)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(state: Path, by: str, since: str | None) -> dict[str, Any]:
    """The report of the daemon; what it has written so far where it does not answer. Raises BadRequest."""
    from openai_proxy.errors import BadRequest
    from openai_proxy.records.service import USAGE_FILE
    from openai_proxy.records.usage import Usage, first_day, groupings

    groupings(by)
    first_day(since)
    report = _from_daemon(state / CONTROL_SOCKET, by, since)
    if report is not None:
        return report
    if not (state / USAGE_FILE).exists():
        raise BadRequest("No daemon is running here and none has written down any usage.")
    return Usage(state / USAGE_FILE).report(by, since)


def _from_daemon(path: Path, by: str, since: str | None) -> dict[str, Any] | None:
    query = urlencode({"by": by, **({"since": since} if since else {})})
    connection = _Connection(path)
    try:
        connection.request("GET", f"/admin/usage?{query}")
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return body if answer.status == 200 and isinstance(body, dict) else None


def table(report: dict[str, Any]) -> list[str]:
    """The report as lines of text, numbers to the right."""
    by = [str(name) for name in report["by"]]
    head = [name.upper() for name in by] + [title for _, title in _COLUMNS]
    body = [[str(row.get(name) or "-") for name in by] + _numbers(row) for row in report["rows"]]
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
        lines.append(f"{guessed} of these requests were estimated: their upstream told no usage.")
    return lines


def _numbers(row: dict[str, Any]) -> list[str]:
    return [f"{row[name]:.4f}" if name == "cost" else f"{row[name]:,}" for name, _ in _COLUMNS]
