"""The one handler of the process's log: one line an event on stderr, without secrets, in the style its reader needs.

    terminal   local time, colour (unless NO_COLOR is set), a person reads it
    plain      UTC, no colour: a pipe or a file
    journal    <priority> in front and no time, as journald wants it (sd-daemon(3), JOURNAL_STREAM in systemd.exec(5))
    json       one object a line, for programs

Control characters are escaped, so that nothing a client sends can forge a line or reach the terminal. Lines that
repeat are counted (`repeats.py`).
"""

import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TextIO

import orjson

from openai_proxy.records.terminal.repeats import Counted, Repeats
from openai_proxy.secrets import vault
from openai_proxy.terminal_text import printable, printable_line

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_COLOURS: Final = {"time": "2", "warning": "33", "error": "31", "good": "32", "bad": "31", "odd": "33", "strong": "1"}


class Facts(Protocol):
    """What a record says besides its text: `record.facts`."""

    key: tuple[Any, ...] | None
    """What makes two such lines the same; None: never collapsed."""

    subject: tuple[Any, ...]
    """What it is about; a line without `key` says that it is well."""

    bare: bool
    """True for a heading, which needs no time and level for a person."""

    def text(self, paint: "Paint") -> str:
        """The line for people."""
        ...

    def members(self) -> dict[str, Any]:
        """The same for programs."""
        ...


class Paint:
    """Colours where the reader sees them, and nothing elsewhere."""

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour

    def __call__(self, role: str, text: str) -> str:
        """`text` as `role` ("good", "bad", "odd", "strong", "time", "warning", "error") is shown."""
        code = _COLOURS.get(role)
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


PLAIN: Final = Paint()


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Send the process's log to stderr, as lines of at least `level`; `style` is "text" or "json"."""
    stream = stream if stream is not None else sys.stderr
    root = logging.getLogger()
    root.handlers[:] = [TerminalHandler(stream, "json" if style == "json" else style_of(stream))]
    root.setLevel(LEVELS[level])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a closed stderr must not end a request


def style_of(stream: TextIO) -> str:
    """Who reads `stream`: "terminal", "journal" or "plain"."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        if stream.isatty():
            return "terminal"
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return "plain"
    if named == f"{status.st_dev}:{status.st_ino}":
        return "journal"
    # Another process's variable, inherited: a desktop's terminal is a service too. A service has no terminal at all.
    return "journal" if named and not any(map(_is_terminal, (0, 1))) else "plain"


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def settle(now: bool) -> float | None:
    """Tell what was held back and is due (all of it if `now`); seconds until more is due, None if nothing is."""
    waits = [handler.settle(now) for handler in logging.getLogger().handlers if isinstance(handler, TerminalHandler)]
    return min((wait for wait in waits if wait is not None), default=None)


def one_line(text: str) -> str:
    """`text` without secrets, its control characters escaped."""
    return printable_line(vault.scrub(text))


class TerminalHandler(logging.Handler):
    """Writes records to `stream` in one of the styles above."""

    def __init__(self, stream: TextIO, style: str) -> None:
        super().__init__()
        self._stream = stream
        self._style = style
        self._paint = Paint(
            colour=style == "terminal" and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        """logging.Handler: show a record, or count it."""
        try:
            facts: Facts | None = getattr(record, "facts", None)
            if facts is not None and facts.key is None:
                for counted in self._repeats.recovered(facts.subject):
                    self._tell(counted)
                self._write(self._line(record))
                return
            if record.levelno <= logging.DEBUG:
                self._write(self._line(record))
                return
            if facts is not None:
                held = self._repeats.take(record, facts.key, facts.subject)
            else:
                held = self._repeats.take(record, (record.name, record.levelno, record.getMessage()))
            if held is not None:
                self._write(self._line(record, held))
        except Exception:
            self.handleError(record)

    def settle(self, now: bool) -> float | None:
        """See the function of this name."""
        self.acquire()
        try:
            for counted in self._repeats.flush() if now else self._repeats.due():
                self._tell(counted)
            return self._repeats.wait()
        finally:
            self.release()

    def close(self) -> None:
        """logging.Handler: the process ends."""
        self.settle(True)
        super().close()

    def _tell(self, counted: Counted) -> None:
        """What was held back, as a line of its own."""
        record, held = counted
        again = logging.makeLogRecord({**record.__dict__, "created": time.time(), "exc_info": None})
        self._write(self._line(again, held, again=True))

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # closed or full: nobody reads it
            return

    def _line(self, record: logging.LogRecord, held: int = 0, *, again: bool = False) -> str:
        if self._style == "json":
            return _json(record, held, again=again)
        facts: Facts | None = getattr(record, "facts", None)
        paint = self._paint
        text = record.getMessage() if facts is None else facts.text(paint if not again else PLAIN)
        # What is painted was made line by line of ours; its parts were escaped when they were put in.
        text = one_line(text) if facts is None else vault.scrub(text)
        if held and again:
            text = f"{text} ({held} more like {'this' if held == 1 else 'these'})"
        elif held:
            text = f"{text} (and {held} more since the last one was shown)"
        debug = logging.getLogger().isEnabledFor(logging.DEBUG)
        if debug:
            text = f"{record.name}: {text}"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f"\n{printable(vault.scrub(_trace(record)))}" if debug else f" {one_line(_where(error))}"
        start = self._start(record, facts)
        return "\n".join(start + line for line in text.split("\n"))

    def _start(self, record: logging.LogRecord, facts: Facts | None) -> str:
        """What stands in front of every line of a record."""
        if self._style == "journal":
            return f"<{_PRIORITIES.get(record.levelno, 6)}>"
        level = record.levelname.lower()
        if self._style == "plain":
            return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(record.created))} {level} "
        if facts is not None and facts.bare:
            return ""
        moment = self._paint("time", time.strftime("%H:%M:%S", time.localtime(record.created)))
        word = f"{self._paint(level, level)}: " if record.levelno >= logging.WARNING and facts is None else ""
        return f"{moment} {word}"


def _json(record: logging.LogRecord, held: int, *, again: bool) -> str:
    facts: Facts | None = getattr(record, "facts", None)
    entry: dict[str, Any] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": vault.scrub(record.getMessage() if facts is None else facts.text(PLAIN)),
    }
    if facts is not None:
        entry |= facts.members()
    if held:
        entry["repeated"] = held
    if again:
        entry["summary"] = True
    if record.exc_info and record.exc_info[1] is not None:
        debug = logging.getLogger().isEnabledFor(logging.DEBUG)
        entry["exception"] = vault.scrub(_trace(record) if debug else _where(record.exc_info[1]))
    return vault.scrub(orjson.dumps(entry, default=str).decode())


def _trace(record: logging.LogRecord) -> str:
    assert record.exc_info
    return logging.Formatter().formatException(record.exc_info)


def _where(error: BaseException) -> str:
    """Kind and place of an exception: enough for a bug report without a traceback."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f" in {code.co_qualname} line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"[{type(error).__name__}: {error}{place}]"
