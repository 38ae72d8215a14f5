"""The daemon's own log on stderr: one line an event, no secret in it, no control character that could forge a line."""

import logging
import sys
import time
from datetime import UTC, datetime

import orjson

from openai_proxy.secrets import vault

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, style: str) -> None:
    """Send the process's log to stderr as `text` or `json` lines of at least `level`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a closed stderr must not end a request


def one_line(text: str) -> str:
    """`text` without secrets, its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in vault.scrub(text))


class _Text(logging.Formatter):
    """`2026-01-31T12:00:00Z warning openai_proxy.daemon: text`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = f"{moment} {record.levelname.lower()} {record.name}: {one_line(record.getMessage())}"
        if record.exc_info and logging.getLogger().isEnabledFor(logging.DEBUG):
            line += "\n" + vault.scrub(self.formatException(record.exc_info))
        elif record.exc_info and record.exc_info[1] is not None:
            line += " " + one_line(_where(record.exc_info[1]))
        return line


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": vault.scrub(record.getMessage()),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["exception"] = vault.scrub(
                self.formatException(record.exc_info)
                if logging.getLogger().isEnabledFor(logging.DEBUG)
                else _where(record.exc_info[1])
            )
        return orjson.dumps(entry).decode()


def _where(error: BaseException) -> str:
    """Kind and place of an exception: enough for a bug report without a traceback."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f" in {code.co_qualname} line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"[{type(error).__name__}: {error}{place}]"
