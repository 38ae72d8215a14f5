"""The one place that knows every secret of the process, and takes them out of text.

It knows nobody. Whoever reads a secret from a file or the environment tells the vault; whoever writes text for a
log, an error or a status page asks `scrub` first. Redaction of prompts, which must also find *encodings* of these
secrets in megabytes of text, is a station of its own (transforms/redaction) that reads `known()`.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from hashlib import sha256
from typing import Final

MARK = "[REDACTED]"
MIN_LENGTH = 6  # a shorter "secret" would blacken ordinary words

PLACEHOLDERS = frozenset(
    {
        "anything", "changeme", "dummy-key", "llama.cpp", "lm-studio", "lmstudio", "localai", "no-key",
        "no-key-required", "not-needed", "not-required", "ollama", "openai", "placeholder", "sk-no-key-required",
        "string", "whatever", "your-api-key",
    }
)  # fmt: skip
"""What is written where a local server wants some key and looks at none: words, which stand in names of models too."""

SECRET_NAME: Final = re.compile(
    r"key(?!ring|board)|token|secret|passw|auth(?!ors?(?![a-z]))|cookie|credential", re.IGNORECASE
)
"""Names of variables and header fields whose values are secrets: what children are not given the vault also knows."""

_MARK = MARK.encode()

HASHED = "sha256:"
"""What a key begins with that stands in a file as its digest alone."""


def key_id(key: str) -> str:
    """What may be written down of a key, plain or hashed: the first 12 hex digits of its SHA-256."""
    return (key.removeprefix(HASHED) if key.startswith(HASHED) else sha256(key.encode()).hexdigest())[:12]


def _forms(secret: str) -> Iterable[bytes]:
    """`secret` as UTF-8, and as JSON writes it with and without escapes for what is not ASCII."""
    yield secret.encode("utf-8", "surrogatepass")
    for ascii_only in (False, True):
        yield json.dumps(secret, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogatepass")


_trying: Final[ContextVar[bool]] = ContextVar("a configuration is only tried", default=False)


class Vault:
    """Every secret known to this process. Thread-safe: readers see one immutable state at a time."""

    def __init__(self) -> None:
        self._lasting: frozenset[str] = frozenset()
        self._rotating: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._written: tuple[bytes, ...] = ()  # every secret as it stands in text and in JSON, longest first
        self.version = 0

    def learn(self, secrets: Iterable[str]) -> None:
        """Add `secrets`. What was once a secret stays one until the process ends: logs outlive an edit."""
        fresh = {s for s in secrets if len(s) >= MIN_LENGTH and s.lower() not in PLACEHOLDERS} - self._lasting
        if fresh and not _trying.get():
            self._lasting |= fresh
            self._compile()

    @staticmethod
    @contextlib.contextmanager
    def trying() -> Iterator[None]:
        """Learn nothing meanwhile, in this thread: of a key that is being typed every beginning would be a secret."""
        token = _trying.set(True)
        try:
            yield
        finally:
            _trying.reset(token)

    def rotate(self, owner: str, secrets: Iterable[str]) -> None:
        """Make `secrets` the present ones of `owner`, for secrets that are replaced every hour, such as OAuth tokens.

        Those they replace stay known until the next rotation: they may still be valid, or on their way into a log.
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
        # Longest first, so that a secret that contains another is taken out whole.
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
        """`body`, text or JSON of our own, with every known secret replaced; the same object where it holds none."""
        for secret in self._written:
            if secret in body:
                body = body.replace(secret, _MARK)
        return body

    def found_in(self, text: str) -> bool:
        """True if `text` holds a known secret."""
        pattern = self._pattern
        return pattern is not None and pattern.search(text) is not None


vault = Vault()
"""The process's vault. A module global on purpose: a secret must be known to whoever logs, however deep."""
