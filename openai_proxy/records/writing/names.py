"""File names made from names that clients choose.

A model's name and a session's id come from requests. Their file names must not leave the directory, must be unique per
name, and should be readable:

- only `[A-Za-z0-9._-]`, at most 80 bytes, never beginning with `.` or `-`;
- if that changed anything, or two names could collide (`A` and `a` on a case-insensitive disk, `a_b` + `c` and `a` +
  `b_c` around our own `_`), 16 hex digits of the SHA-256 of the true value are added.
"""

import hashlib
import re

MAX_BYTES = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LOOKS_HASHED = re.compile(r"-[0-9a-f]{16}$")


def slug(raw: str, *, apart: str = "") -> str:
    """`raw` as a part of a file name. A part with one of the characters `apart` gets the hash, too."""
    safe = _UNSAFE.sub("-", raw).lstrip(".-")[:MAX_BYTES]
    if (
        safe
        and safe == raw
        and safe == safe.lower()
        and not any(character in safe for character in apart)
        and not _LOOKS_HASHED.search(safe)
    ):
        return safe
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{safe[: MAX_BYTES - 17] or 'x'}-{digest}"


def file_name(model: str, conversation: str) -> str:
    """The chat log of one conversation with one model."""
    return f"{slug(model)}_{slug(conversation, apart='_')}.jsonl"
