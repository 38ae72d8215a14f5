"""The last working proxy.yaml, kept in the state directory: used at start-up if the present one is broken."""

import logging
from datetime import datetime
from pathlib import Path

from openai_proxy import statefile

log = logging.getLogger(__name__)

NAME = "last-good/proxy.yaml"


def keep(state_dir: Path, data: bytes) -> None:
    """Keep the content of a proxy.yaml that is in service. Failing to write it is only logged."""
    path = state_dir / NAME
    try:
        if path.exists() and path.read_bytes() == data:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        statefile.write(path, data)
    except OSError as error:
        log.warning("cannot keep a copy of the working configuration: %s", error.strerror)


def words(path: Path) -> str:
    """The problem to report while the copy at `path` is in use."""
    saved = datetime.fromtimestamp(path.stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"the last working configuration, of {saved}, is used until this file is fixed"
