"""State that outlives the process, one JSON file each: written whole or not at all, for our eyes only.

A file names its version, so that a later release can tell what it reads.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)


def load(
    path: Path, version: int, unversioned: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The members of the file at `path`; {} where there is none, or none of this `version` that can be read.

    `unversioned` makes the members of a file from before files had a version.
    """
    try:
        document = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        log.warning("the saved state in %s cannot be read and is not used", path.name)
        return {}
    found = document.pop("version", None)
    if found is None and unversioned is not None:
        return unversioned(document)
    return document if found == version else {}


def save(path: Path, version: int, members: dict[str, Any], *, sync: bool = False) -> None:
    """Write `members` to `path`, mode 0600, in one step. Raises OSError.

    `sync` waits until the disk has it: for what a power cut must not take back.
    """
    write(path, orjson.dumps({"version": version, **members}), sync=sync)


def make_private(directory: Path) -> None:
    """Take everyone else's rights from the files in `directory`: some were copied here, or come out of a backup."""
    for path in directory.iterdir():
        try:
            if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077:
                path.chmod(0o600)
        except OSError as error:
            log.warning("%s can be read by others, and that cannot be changed: %s", path.name, error.strerror)


def write(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write `data` to `path` as `save` does."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # a file that was left over keeps the mode it was made with
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
