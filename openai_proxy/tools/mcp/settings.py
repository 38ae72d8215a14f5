"""What this room reads of a server's configuration: the attributes of `config/servers.py: ServerConfig`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

CALL_TIMEOUT = 60.0
"""Seconds a call may take unless the server's `timeout` says otherwise: Home Assistant gives up after 60 as well."""

START_TIMEOUT = 60.0
"""Seconds until a server must have listed its tools: a cold `npx` needs 8 on a fast line, many times that on a slow."""


class ServerSettings(Protocol):
    """One entry of `conf/mcp/servers.yaml`, defaults filled and variables expanded."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def command(self) -> str | None: ...
    @property
    def args(self) -> Sequence[str]: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def cwd(self) -> Path | str | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def start_timeout(self) -> float | None: ...
    @property
    def whitelist(self) -> Sequence[str] | None: ...
    @property
    def blacklist(self) -> Sequence[str] | None: ...
    @property
    def pin(self) -> bool: ...

    def identity(self) -> str:
        """A stable digest of what makes another server: type, command, args, env, cwd, url, headers."""
        ...


def call_timeout(config: ServerSettings) -> float:
    """Seconds one call may take."""
    return config.timeout or CALL_TIMEOUT


def start_timeout(config: ServerSettings) -> float:
    """Seconds one attempt to connect may take."""
    return config.start_timeout or START_TIMEOUT
