"""The process-wide redactor: knows what the vault knows, and decides in microseconds that a request has no secrets."""

import threading
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, Final

from openai_proxy.secrets import Vault
from openai_proxy.steps import STEP, any_piece
from openai_proxy.transforms.flat import flatten
from openai_proxy.transforms.redaction.body import redact, suspected
from openai_proxy.transforms.redaction.finder import HINTED, SecretFinder
from openai_proxy.transforms.redaction.parts import has_parts

PLACEHOLDERS: Final = frozenset(
    {
        "anything", "api-key", "api_key", "apikey", "changeme", "default", "disabled", "dummy", "empty", "example",
        "fake-key", "lm-studio", "lmstudio", "local", "localhost", "no-key", "no-key-required", "none", "not-needed",
        "not-required", "nothing", "ollama", "openai", "password", "placeholder", "secret", "sk-dummy",
        "sk-no-key-required", "sk-xxx", "string", "unused", "your-api-key",
    }
)  # fmt: skip
"""Dummy keys for programs that insist on one: ordinary words, not secrets."""

_REACH: Final = 64 * 1024  # bytes at the end of a step of a large body that are also searched with the next one

OWN_LENGTH: Final = 8  # minimum characters of a caller's key that is searched for


def is_secret(text: str) -> bool:
    """False for a placeholder, or a single character repeated."""
    return text.lower() not in PLACEHOLDERS and len(set(text.removeprefix("sk-"))) > 2


@lru_cache(maxsize=64)
def _own(key: str) -> SecretFinder:
    return SecretFinder((key,), shapes=False)


@lru_cache(maxsize=256)
def _sought(key: str) -> bytes | None:
    """What to search for of a caller's key; None if it is not a secret, or too short to distinguish from a word."""
    return key.encode("utf-8", "surrogateescape") if len(key) >= OWN_LENGTH and is_secret(key) else None


def _holds(body: bytes, key: str) -> bool:
    text = _sought(key)
    if text is None:
        return False
    return _stands_in(text, body) if len(body) <= STEP else any_piece(partial(_stands_in, text), body, _REACH)


def _stands_in(text: bytes, body: bytes) -> bool:
    if body.find(text) >= 0:
        return True
    flat = flatten(body)
    return flat is not body and flat.find(text) >= 0


class Redactor:
    """Finds what the vault knows. `finder` is replaced as a whole, so any thread may use the redactor at any time."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._version = -1
        self._building = threading.Lock()
        self._finder = SecretFinder((), shapes=False)

    @property
    def fresh(self) -> bool:
        """False if the vault has learnt something since `refresh`."""
        return self._version == self._vault.version

    def refresh(self) -> None:
        """Learn the vault's new secrets. Takes some milliseconds for fifty secrets: call it in a thread."""
        with self._building:
            version = self._vault.version
            if version != self._version:
                self._finder = SecretFinder(secret for secret in self._vault.known() if is_secret(secret))
                self._version = version

    def quiet(self, body: bytes, document: Mapping[str, Any], own: str | None = None) -> bool:
        """True if `body` certainly has no secret, not `own` either, and nothing hidden by escapes.

        The fast path calls this for every request: one pass over the body, 1.4 ns a byte. False means that `suspects`
        must be called, and that other searches in the body must undo escapes.
        """
        if self._version != self._vault.version:
            return False
        finder = self._finder
        if (len(body) > HINTED or not finder.look(body)) and finder.first(body) is not None:
            return False
        if has_parts(document):
            return False
        if own is None or own in finder.secrets:
            return True
        text = _sought(own)
        return text is None or body.find(text) < 0

    def suspects(self, body: bytes, document: Mapping[str, Any], own: str | None = None) -> bool:
        """True if `body` may contain a secret, or `own`, the caller's key: the cheap check for every request."""
        return suspected(body, document, self._finder) or (own is not None and _holds(body, own))

    def body(self, body: bytes, document: Mapping[str, Any], own: str | None = None) -> bytes:
        """`body`, the JSON of `document`, without secrets; the same object if it has none."""
        if len(body) <= HINTED and self.quiet(body, document, own):
            return body
        finder = self._finder
        clean = redact(body, document, finder)
        return clean if own is None or own in finder.secrets else self.without_own(clean, document, own)

    @staticmethod
    def without_own(body: bytes, document: Mapping[str, Any], own: str) -> bytes:
        """`body` without its caller's own key; the same object if it does not contain it."""
        return redact(body, document, _own(own)) if _holds(body, own) else body

    def lines(self, data: bytes) -> bytes:
        """`data`, text or lines of JSON, without secrets; the same object if it has none."""
        if not self.fresh:
            self.refresh()
        return self._finder.clean(data) if self._finder.suspects(data) else data

    def text(self, text: str) -> str:
        """The same for a text."""
        data = text.encode("utf-8", "surrogatepass")
        clean = self.lines(data)
        return text if clean is data else clean.decode("utf-8", "surrogatepass")
