"""Client keys: looked up by their SHA-256, never compared as text."""

import secrets
from collections.abc import Iterable, Mapping
from hashlib import sha256

from openai_proxy.exchange import Caller

PREFIX = "sha256:"


def new_key() -> str:
    """A fresh client key: `sk-` and 43 characters that carry 256 random bits."""
    return "sk-" + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """`key` in the form for `api_keys`: `sha256:` and its digest in hex."""
    return PREFIX + sha256(key.encode()).hexdigest()


def digest_of(configured: str) -> bytes:
    """The digest of a key as configured: `sha256:<64 hex>` or the key itself."""
    if configured.startswith(PREFIX):
        return bytes.fromhex(configured[len(PREFIX) :])
    return sha256(configured.encode()).digest()


class ClientKeys:
    """Every client key of one configuration. The dictionary look-up leaks no timing about the key's text."""

    def __init__(self, groups: Mapping[str, Iterable[str]], admin_keys: Iterable[str]) -> None:
        self._groups: dict[bytes, str] = {digest_of(key): name for name, keys in groups.items() for key in keys}
        self._admins = frozenset(digest_of(key) for key in admin_keys)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def find(self, key: str, remote: str) -> Caller | None:
        """The caller that this key belongs to, or None."""
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        group = self._groups.get(digest)
        if group is None:
            return None
        return Caller(remote, group, digest.hex()[:12], digest)

    def is_admin(self, key: str) -> bool:
        """True for one of `admin_api_keys`."""
        return sha256(key.encode("utf-8", "surrogateescape")).digest() in self._admins

    def is_admin_digest(self, digest: str) -> bool:
        """The same for a key's SHA-256 in hex."""
        return bytes.fromhex(digest) in self._admins

    @property
    def has_admins(self) -> bool:
        """True if admin keys are configured."""
        return bool(self._admins)
