"""Knows every secret of the process, and removes them from text.

It imports no other module: code that reads a secret from a file or the environment registers it here, and code that
writes text to a log, an error or a status page passes it through `scrub`. Redaction of prompts, which must also find
*encoded* secrets in megabytes of text, is a stage of its own (transforms/redaction) that reads `known()`.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from hashlib import sha256
from typing import Final

MARK = "[REDACTED]"
MIN_LENGTH = 6  # a shorter "secret" would blank out ordinary words

PLACEHOLDERS = frozenset(
    {
        "anything", "changeme", "dummy-key", "llama.cpp", "lm-studio", "lmstudio", "localai", "no-key",
        "no-key-required", "not-needed", "not-required", "ollama", "openai", "placeholder", "sk-no-key-required",
        "string", "whatever", "your-api-key",
    }
)  # fmt: skip
"""Dummy keys for local servers that require some key but check none: ordinary words, also found in model names."""

SECRET_NAME: Final = re.compile(
    r"key(?!ring|board)|token|secret|passw|auth(?!ors?(?![a-z]))|cookie|credential", re.IGNORECASE
)
"""Names of variables and header fields whose values are secrets: withheld from children and known to the vault."""

_MARK = MARK.encode()

HASHED = "sha256:"
"""The prefix of a key that is stored as its digest only."""


def key_id(key: str) -> str:
    """The part of a key, plain or hashed, that may be logged: the first 12 hex digits of its SHA-256."""
    return (key.removeprefix(HASHED) if key.startswith(HASHED) else sha256(key.encode()).hexdigest())[:12]


def _forms(secret: str) -> Iterable[bytes]:
    """`secret` as UTF-8, and as JSON writes it, with and without escapes for non-ASCII characters."""
    yield secret.encode("utf-8", "surrogatepass")
    for ascii_only in (False, True):
        yield json.dumps(secret, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogatepass")


_trying: Final[ContextVar[bool]] = ContextVar("validating without applying", default=False)


class Vault:
    """Every secret known to this process. Thread-safe: readers see one immutable state at a time."""

    def __init__(self) -> None:
        self._lasting: frozenset[str] = frozenset()
        self._rotating: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._written: tuple[bytes, ...] = ()  # every secret as it appears in text and in JSON, longest first
        self.version = 0

    def learn(self, secrets: Iterable[str]) -> None:
        """Add `secrets`. They stay secret until the process ends, because logs outlive an edit."""
        fresh = {s for s in secrets if len(s) >= MIN_LENGTH and s.lower() not in PLACEHOLDERS} - self._lasting
        if fresh and not _trying.get():
            self._lasting |= fresh
            self._compile()

    @staticmethod
    @contextlib.contextmanager
    def trying() -> Iterator[None]:
        """Learn nothing in this thread for now: while a key is being typed, every prefix would become a secret."""
        token = _trying.set(True)
        try:
            yield
        finally:
            _trying.reset(token)

    def rotate(self, owner: str, secrets: Iterable[str]) -> None:
        """Set the current secrets of `owner`, for secrets that are replaced regularly, such as OAuth tokens.

        The replaced ones stay known until the next rotation: they may still be valid, or on their way into a log.
        """
        present = frozenset(s for s in secrets if len(s) >= MIN_LENGTH)
        before = self._rotating.get(owner, (frozenset(), frozenset()))[0]
        if present != before:
            self._rotating[owner] = (present, before)
            self._compile()

    def _compile(self) -> None:
        known = self._lasting.union(*(secrets for pair in self._rotating.values() for secrets in pair))
        if known == self._known:
            return
        # Longest first, so that a secret that contains another is replaced as a whole.
        ordered = sorted(known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._known = known
        written = {form for secret in known for form in _forms(secret)}
        self._written = tuple(sorted(written, key=len, reverse=True))
        self.version += 1

    def known(self) -> frozenset[str]:
        """Every secret learnt so far."""
        return self._known

    def scrub(self, text: str) -> str:
        """`text` with every known secret replaced by a short mark."""
        pattern = self._pattern
        return pattern.sub(MARK, text) if pattern is not None else text

    def scrub_body(self, body: bytes) -> bytes:
        """Our own text or JSON `body` with every known secret replaced; the same object if it holds none."""
        for secret in self._written:
            if secret in body:
                body = body.replace(secret, _MARK)
        return body

    def found_in(self, text: str) -> bool:
        """True if `text` holds a known secret."""
        pattern = self._pattern
        return pattern is not None and pattern.search(text) is not None


vault = Vault()
"""The process's vault. A module global on purpose: every writer of logs, however deep, must know the secrets."""
