"""Loggers that can be named in `loggers:` of proxy.yaml, and what one of your own looks like.

    loggers:
      - class: openai_proxy.loggers.JsonLogger
        file_name: requests.jsonl
        entry: {model: request.model, user: request.user, answer: response.content, who: api_key_id, took: duration}
      - class: my_loggers.ToDatabase        # conf/my_loggers.py, or anything on sys.path
        entry: {tokens: response.usage.total_tokens}

A logger of your own is a class with `write(row)`, built once with `file_name=…` if the entry has one, or a plain
function that takes the row. It runs in a thread of its own: it may be slow, and it may fail; nobody waits for it.
"""

from pathlib import Path
from typing import Any, Protocol

from openai_proxy.records.writing import textjson
from openai_proxy.records.writing.files import LineFiles


class Logger(Protocol):
    """What takes rows. `close()`, where there is one, is called at the end or when the entry is removed."""

    def write(self, row: dict[str, Any]) -> None:
        """One exchange, as the columns of `entry`. Known secrets are already taken out."""
        ...


class JsonLogger:
    """One JSON object a line, appended to `file_name` (0600); rotation and full disks are survived."""

    def __init__(self, file_name: str | Path) -> None:
        path = Path(file_name)
        self._name = path.name
        self._files = LineFiles(path.parent)

    def write(self, row: dict[str, Any]) -> None:
        """Append one row. Raises OSError where the disk did not take it."""
        if not self._files.append(self._name, textjson.line(row)):
            raise OSError(self._files.degraded or "the line was not written")

    def close(self) -> None:
        """Close the file."""
        self._files.close()
