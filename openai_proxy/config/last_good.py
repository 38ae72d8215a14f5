"""The last proxy.yaml that worked, kept in the state directory: what a start uses where the present one is broken."""

import logging
from datetime import datetime
from pathlib import Path

from openai_proxy import statefile

log = logging.getLogger(__name__)

NAME = "last-good/proxy.yaml"


def keep(state_dir: Path, data: bytes) -> None:
    """Keep the content of a proxy.yaml that is in service. A disk that does not take it is told, and no more."""
    path = state_dir / NAME
    try:
        if path.exists() and path.read_bytes() == data:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        statefile.write(path, data)
    except OSError as error:
        log.warning("the working configuration cannot be kept for a broken one: %s", error.strerror)


def words(path: Path) -> str:
    """What to say where the kept file at `path` is in use."""
    saved = datetime.fromtimestamp(path.stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"the last configuration that worked, of {saved}, is in use until this file is repaired"
