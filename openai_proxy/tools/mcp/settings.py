"""What this package reads of a server's configuration (`config/servers.py: ServerConfig`), and a child's environment.

A stdio server's environment contains none of our keys, but enough for npx and uvx behind a proxy: the SDK passes only
HOME, LOGNAME, PATH, SHELL, TERM and USER, and behind a private CA that breaks `uvx` ("invalid peer certificate"), so
variables about language, time, certificates, proxies and caches are passed, too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from openai_proxy.children import inherited

CALL_TIMEOUT = 60.0
"""Seconds that a call may take by default: Home Assistant gives up after 60 as well."""


class OAuthSettings(Protocol):
    """How to sign in to a server: a manually registered client, if any, and the scopes to request."""

    @property
    def client_id(self) -> str | None: ...
    @property
    def client_secret(self) -> str | None: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def redirect_uri(self) -> str | None: ...


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
    def auth(self) -> OAuthSettings | None: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def start_timeout(self) -> float: ...
    @property
    def whitelist(self) -> Sequence[str] | None: ...
    @property
    def blacklist(self) -> Sequence[str] | None: ...
    @property
    def pin(self) -> bool: ...

    def identity(self) -> str:
        """A stable digest of what identifies a server: type, command, args, env, cwd, url, headers, client."""
        ...


def call_timeout(config: ServerSettings) -> float:
    """Seconds one call may take."""
    return config.timeout or CALL_TIMEOUT


MARK = "OPENAI_PROXY_MCP_CHILD"
"""Set to a unique value for each child, so that descendants which left the process group are still found."""

_NAMES = frozenset(
    {"NODE_EXTRA_CA_CERTS", "PIP_CERT", "PIP_INDEX_URL", "PIP_CACHE_DIR", "DOCKER_HOST", "DOCKER_CONFIG"}
)
_PREFIXES = ("UV_", "npm_config_", "NPM_CONFIG_")


def child_environment(environ: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: what is safe of `environ`, then `own` (the server's `env:`), which wins."""
    return inherited(environ, _NAMES, _PREFIXES) | dict(own)
