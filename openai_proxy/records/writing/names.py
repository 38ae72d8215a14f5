"""File names out of names that strangers choose.

A model's name and a session's id come from requests. What becomes of them in a directory must stay inside it, must
be one file for one name, and must still be readable by a person:

- only `[A-Za-z0-9._-]`, at most 80 bytes, never beginning with `.` or `-`;
- where that changed anything, or two names could meet (`A` and `a` on a disk that knows no case, `a_b` + `c` and
  `a` + `b_c` around our own `_`), 16 hex digits of the SHA-256 of the true value are added.
"""

import hashlib
import re

MAX_BYTES = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LOOKS_HASHED = re.compile(r"-[0-9a-f]{16}$")


def slug(raw: str, *, apart: str = "") -> str:
    """`raw` as a piece of a file name. A piece that holds one of the characters `apart` gets the hash too."""
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
