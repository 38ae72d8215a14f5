"""State that outlives the process, one JSON file each: written whole or not at all, for our eyes only.

A file names its version, so that a later release can tell what it reads.
"""

import os
from pathlib import Path
from typing import Any

import orjson


def load(path: Path, version: int) -> dict[str, Any]:
    """The members of the file at `path`; {} where there is none, or none of this `version` that can be read."""
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict) or document.pop("version", None) != version:
        return {}
    return document


def save(path: Path, version: int, members: dict[str, Any]) -> None:
    """Write `members` to `path`, mode 0600, in one step. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    data = orjson.dumps({"version": version, **members})
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
