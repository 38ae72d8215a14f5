"""The process's log handler: one line per event on stderr, without secrets, in the style that its reader needs.

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
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TextIO

import orjson

from openai_proxy.records.process_log.repeats import Counted, Repeats
from openai_proxy.secrets import vault
from openai_proxy.terminal_text import printable, printable_line

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_COLOURS: Final = {"time": "2", "warning": "33", "error": "31", "good": "32", "bad": "31", "odd": "33", "strong": "1"}


class Facts(Protocol):
    """The structured part of a log record: `record.facts`."""

    key: tuple[Any, ...] | None
    """Lines with equal keys are repeats; None: never collapsed."""

    subject: tuple[Any, ...]
    """What the line is about; one without `key` reports its recovery."""

    bare: bool
    """True for a heading, which needs no time and level for people."""

    def text(self, paint: "Colours") -> str:
        """The line for people."""
        ...

    def members(self) -> dict[str, Any]:
        """The same for programs."""
        ...


class Colours:
    """Colours if the reader can see them."""

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour

    def __call__(self, role: str, text: str) -> str:
        """`text` as `role` ("good", "bad", "odd", "strong", "time", "warning", "error") is shown."""
        code = _COLOURS.get(role)
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


PLAIN: Final = Colours()


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
    # Another process's variable may be inherited, as from a desktop's terminal. A service has no terminal at all.
    return "journal" if named and not any(map(_is_terminal, (0, 1))) else "plain"


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def only_reader(logger: logging.Logger) -> "TerminalHandler | None":
    """The handler that alone receives what `logger` logs, if it writes text without the names of loggers."""
    root = logging.getLogger()
    at: logging.Logger | None = logger
    while at is not None and at is not root:
        if at.handlers or not at.propagate:
            return None
        at = at.parent
    only = root.handlers[0] if len(root.handlers) == 1 else None
    if isinstance(only, TerminalHandler) and only.style != "json" and not root.isEnabledFor(logging.DEBUG):
        return only
    return None


def settle(now: bool) -> float | None:
    """Write held-back lines that are due (all if `now`); returns seconds until more are, None if there are none."""
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
        self.style = style
        self._paint = Colours(
            colour=style == "terminal" and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        """logging.Handler: show a record, or count it."""
        try:
            facts: Facts | None = getattr(record, "facts", None)
            if facts is not None and facts.key is None:
                for counted in self._repeats.recovered(facts.subject):
                    self._write(self._summary(counted))
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

    @property
    def paint(self) -> Colours:
        """The colours of its lines."""
        return self._paint

    def show(self, lines: Iterable[tuple[tuple[Any, ...], str]]) -> None:
        """Write the lines of successful requests in one go, each given with its subject.

        What `emit` does for one of them without a log record, whose creation takes longer than all the rest. The lines
        contain neither secrets nor control characters.
        """
        self.acquire()
        try:
            start = self._start(logging.INFO, time.time())
            written: list[str] = []
            for subject, line in lines:
                written += map(self._summary, self._repeats.recovered(subject))
                written.append(start + line)
            self._write("\n".join(written))
        finally:
            self.release()

    def settle(self, now: bool) -> float | None:
        """See the function of this name."""
        self.acquire()
        try:
            for counted in self._repeats.flush() if now else self._repeats.due():
                self._write(self._summary(counted))
            return self._repeats.wait()
        finally:
            self.release()

    def close(self) -> None:
        """logging.Handler: the process ends."""
        self.settle(True)
        super().close()

    def _summary(self, counted: Counted) -> str:
        """The held-back count, as a separate line."""
        record, held = counted
        again = logging.makeLogRecord({**record.__dict__, "created": time.time(), "exc_info": None})
        return self._line(again, held, again=True)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # closed or full: nobody reads it
            return

    def _line(self, record: logging.LogRecord, held: int = 0, *, again: bool = False) -> str:
        if self.style == "json":
            return _json(record, held, again=again)
        facts: Facts | None = getattr(record, "facts", None)
        paint = self._paint
        text = record.getMessage() if facts is None else facts.text(paint if not again else PLAIN)
        # Coloured text was created line by line by us; its parts were escaped when they were inserted.
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
        start = self._start(record.levelno, record.created, facts)
        return "\n".join(start + line for line in text.split("\n"))

    def _start(self, level: int, created: float, facts: Facts | None = None) -> str:
        """The prefix of every line of a record."""
        if self.style == "journal":
            return f"<{_PRIORITIES.get(level, 6)}>"
        word = logging.getLevelName(level).lower()
        if self.style == "plain":
            return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(created))} {word} "
        if facts is not None and facts.bare:
            return ""
        moment = self._paint("time", time.strftime("%H:%M:%S", time.localtime(created)))
        prefix = f"{self._paint(word, word)}: " if level >= logging.WARNING and facts is None else ""
        return f"{moment} {prefix}"


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
