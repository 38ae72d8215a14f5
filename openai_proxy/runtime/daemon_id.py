"""The name of this daemon among those that share state."""

import logging
import uuid
from pathlib import Path
from typing import Final

from openai_proxy import statefile

log = logging.getLogger(__name__)

DAEMON: Final = "daemon.json"


def daemon_id(state_dir: Path) -> str:
    """The name of this daemon among those that share state: the same after a restart."""
    path = state_dir / DAEMON
    known = statefile.load(path, 1).get("id")
    if isinstance(known, str) and known.isalnum():
        return known
    made = uuid.uuid4().hex[:16]
    try:
        statefile.save(path, 1, {"id": made})
    except OSError as error:
        log.warning("the name of this daemon cannot be saved: %s", error.strerror)
    return made
