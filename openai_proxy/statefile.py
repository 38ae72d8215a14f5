"""State that outlives the process, in JSON files that are written atomically and readable only by us.

Each file has a version, so that a later release knows what it reads.
"""

import json
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
    """The members of the file at `path`; {} if it does not exist or has no readable content of this `version`.

    `unversioned` converts the members of a file from before files had a version.
    """
    try:
        document = _read(path.read_bytes())
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

    `sync` waits until it is on the disk, for data that a power cut must not undo.
    """
    write(path, _written({"version": version, **members}), sync=sync)


def make_private(directory: Path) -> None:
    """Remove other users' permissions from the files in `directory`, which may have been copied or restored."""
    for path in directory.iterdir():
        try:
            if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077:
                path.chmod(0o600)
        except OSError as error:
            log.warning(
                "%s can be read by others, and its permissions cannot be changed: %s", path.name, error.strerror
            )


def write(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write `data` to `path` as `save` does."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # a leftover file keeps its old mode
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _read(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        try:
            return json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _written(document: dict[str, Any]) -> bytes:
    """`document` as JSON; not always by orjson, which refuses the lone surrogates in texts that clients have cut."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return json.dumps(document).encode()
