"""`openai-proxy logs list` and `logs show ID`: chat logs as readable conversations."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from openai_proxy.cli.groups import NearestGroup
from openai_proxy.cli.screen import complain, say
from openai_proxy.terminal_text import printable_line

_INDENT = " " * 21


@click.group("logs", cls=NearestGroup)
def command() -> None:
    """Read chat logs as conversations."""


def _directory(function: Any) -> Any:
    return click.option(
        "--logs-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("logs"),
        show_default=True,
        help="Where the daemon writes its chat logs.",
    )(function)


@command.command("list")
@_directory
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="Number, newest first.")
def list_(logs_dir: Path, limit: int) -> int:
    """List the latest conversations, newest first."""
    from openai_proxy.records.writing.log_reader import summaries

    found = summaries(logs_dir, limit)
    if not found:
        say(f"No chat logs in {logs_dir}.")
        return 0
    width = max(12, *(min(len(s.id), 40) for s in found))
    say(f"{'LAST':<16}  {'ID':<{width}}  {'TURNS':>5}  {'TOKENS':>13}  MODEL, FIRST WORDS")
    for s in found:
        tokens = f"{s.input}+{s.output}" if s.input or s.output else "unknown"
        words = " ".join(s.title.split())[:50]
        failed = f"  [{s.errors} failed]" if s.errors else ""
        models = printable_line(", ".join(s.models))
        name = printable_line(s.id)
        say(f"{_day(s.last):<16}  {name:<{width}}  {s.turns:>5}  {tokens:>13}  {models}: {words}{failed}")
    return 0


@command.command("show")
@click.argument("conversation", metavar="ID")
@_directory
@click.option("--json", "as_json", is_flag=True, help="Print the records themselves, one per line.")
@click.option("--full", is_flag=True, help="Nothing shortened.")
def show(conversation: str, logs_dir: Path, as_json: bool, full: bool) -> int:
    """Show one conversation; ID is `last`, or any part of an id that matches only one."""
    from openai_proxy.records.writing.log_reader import find

    names, records = find(logs_dir, conversation)
    if not names:
        what = "conversation yet" if conversation == "last" else f"conversation {printable_line(conversation)}"
        complain(f"there is no {what} in {logs_dir}")
        return 1
    if len(names) > 1:
        complain(f"{len(names)} conversations match:")
        for name in names[:20]:
            say(f"  {printable_line(name)}", err=True)
        return 1
    if as_json:
        for record in records:
            say(json.dumps(record))
        return 0
    for line in rendered(names[0], records, 1 << 30 if full else 2000):
        say(line)
    return 0


def rendered(name: str, records: list[dict[str, Any]], limit: int) -> Iterator[str]:
    """The lines of a conversation; a text longer than `limit` characters is cut."""
    from openai_proxy.records.writing.log_reader import ShownMessages, Summary, text_of

    summary = Summary(name)
    for record in records:
        summary.add(record)
    yield f"conversation {printable_line(name)}"
    models = printable_line(", ".join(summary.models))
    yield (
        f"{models} · {_day(summary.first)} to {_day(summary.last)} · {summary.turns} "
        f"{'turn' if summary.turns == 1 else 'turns'}"
        + (f" · {summary.input} tokens in, {summary.output} out" if summary.input or summary.output else "")
    )
    yield ""
    shown = ShownMessages()
    for record in records:
        kind, at = record.get("type"), _clock(record)
        if kind == "request":
            for message in shown.new_messages(record):
                yield from _turn(at, str(message.get("role")), text_of(message), limit)
                yield from _calls(message.get("tool_calls"), limit)
        elif kind == "response":
            shown.answered(record)
            if record.get("reasoning"):
                yield from _turn(at, "(thinks)", str(record["reasoning"]), limit)
            yield from _turn(at, "assistant", str(record.get("content") or ""), limit)
            yield from _calls(record.get("tool_calls"), limit)
            yield f"{_INDENT}({_facts(record)})"
        elif kind == "tool_call":
            arguments = _short(json.dumps(record.get("arguments"), ensure_ascii=False), limit)
            status = record.get("status")
            took = f"{status}, {_seconds(record.get('duration_ms'))}"
            yield from _turn(at, "tool", f"{record.get('tool')}({arguments}) -> {record.get('result')} ({took})", limit)
        elif kind == "error":
            error = record.get("error")
            text = record.get("message") or (error.get("message") if isinstance(error, dict) else error) or ""
            code = record.get("code")
            words = [str(record.get("status") or ""), text or str(code or ""), f"({code})" if code and text else ""]
            yield from _turn(at, "error", " ".join(filter(None, words)), limit)
            yield from _attempts(record, limit)


def _turn(at: str, who: str, text: str, limit: int) -> Iterator[str]:
    lines = _short(text, limit).split("\n") or [""]
    if not lines[0] and len(lines) == 1:
        return
    yield f"{at}  {printable_line(who):<10} {lines[0]}"
    for line in lines[1:]:
        yield f"{_INDENT}{line}"


def _calls(calls: Any, limit: int) -> Iterator[str]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            text = f"{function.get('name')}({function.get('arguments')})"
            yield f"{_INDENT}calls {_short(text, limit)}"


def _attempts(record: dict[str, Any], limit: int) -> Iterator[str]:
    """The attempts, if there was more than one."""
    attempts = [one for one in record.get("attempts") or () if isinstance(one, dict)]
    for attempt in attempts if len(attempts) > 1 else ():
        where = ".".join(str(attempt[name]) for name in ("connection", "model") if attempt.get(name))
        why = " ".join(str(attempt[name]) for name in ("status", "cause") if attempt.get(name)) or attempt.get("error")
        yield f"{_INDENT}tried {_short(printable_line(f'{where}: {why}'), limit)}"


def _facts(record: dict[str, Any]) -> str:
    from openai_proxy.records.writing.log_reader import token_counts

    given, made = token_counts(record)
    facts = [_seconds(record.get("duration_ms"))]
    if record.get("ttft_ms") is not None:
        facts.append(f"first byte {_seconds(record['ttft_ms'])}")
    about = "about " if record.get("usage_estimated") else ""
    if given or made:
        facts.append(f"{about}{given} tokens in, {made} out")
    if record.get("finish_reason") not in (None, "stop"):
        facts.append(str(record["finish_reason"]))
    if record.get("finish") not in (None, "done"):
        facts.append(str(record["finish"]))
    return printable_line(", ".join(facts))


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit} more, --full shows them]"


def _seconds(milliseconds: Any) -> str:
    if not isinstance(milliseconds, int | float):
        return "?"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _local(ts: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(ts)).astimezone()
    except ValueError:
        return None


def _clock(record: dict[str, Any]) -> str:
    at = _local(record.get("ts"))
    return at.strftime("%H:%M:%S") if at is not None else "        "


def _day(ts: str) -> str:
    at = _local(ts)
    return at.strftime("%Y-%m-%d %H:%M") if at is not None else "?"
