"""Loggers for `loggers:` in proxy.yaml, and how to write your own.

    loggers:
      - class: openai_proxy.loggers.JsonLogger
        file_name: requests.jsonl
        entry: {model: request.model, user: request.user, answer: response.content, who: api_key_id, took: duration}
      - class: my_loggers.ToDatabase        # conf/my_loggers.py, or anything on sys.path
        entry: {tokens: response.usage.total_tokens}

Your own logger is a class with `write(row)`, created once with `file_name=…` if the entry has one, or a plain function
that takes the row. It runs in its own thread, so it may be slow or fail without affecting requests.
"""

from pathlib import Path
from typing import Any, Protocol

from openai_proxy.records.writing import textjson
from openai_proxy.records.writing.files import LineFiles


class Logger(Protocol):
    """A logger. `close()`, if it exists, is called at the end or when the entry is removed."""

    def write(self, row: dict[str, Any]) -> None:
        """Write one exchange, as the columns of `entry`. Known secrets are already removed."""
        ...


class JsonLogger:
    """Appends one JSON object per line to `file_name` (0600); survives rotation and full disks."""

    def __init__(self, file_name: str | Path) -> None:
        path = Path(file_name)
        self._name = path.name
        self._files = LineFiles(path.parent)

    def write(self, row: dict[str, Any]) -> None:
        """Append one row. Raises OSError if the disk did not accept it."""
        if not self._files.append(self._name, textjson.line(row)):
            raise OSError(self._files.degraded or "the line was not written")

    def close(self) -> None:
        """Close the file."""
        self._files.close()
