"""The setting `storage`: where daemons keep shared state."""

from collections.abc import Iterator
from typing import Annotated, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator

from openai_proxy.config.fields import wrong

MEMORY: Final = "memory"
_SENTINEL: Final = "redis+sentinel://"
_STORES: Final = ("redis://", "rediss://", "redis+unix://", "unix://", _SENTINEL)


def _checked(value: str) -> str:
    if value != MEMORY and not value.startswith(_STORES):
        raise wrong("expected memory, or the URL of a Redis such as redis://127.0.0.1:6379")
    if value.startswith(_SENTINEL) and not urlsplit(value).path.strip("/"):
        raise wrong("expected the name of the master behind the sentinels: redis+sentinel://host:26379/NAME")
    return value


Storage = Annotated[str, AfterValidator(_checked)]


def secrets_of_storage(url: str) -> Iterator[str]:
    """Every password in a store's URL, as written and as sent."""
    parts = urlsplit(url)
    given = [parts.netloc.rpartition("@")[0].partition(":")[2]]
    given += [value for name, value in parse_qsl(parts.query) if "password" in name]
    for password in given:
        if password:
            yield from {password, unquote(password)}
