"""The environment a stdio server starts with: clean of our keys, complete enough for npx and uvx behind a proxy.

The SDK passes HOME, LOGNAME, PATH, SHELL, TERM and USER only; behind a private CA that breaks `uvx` ("invalid peer
certificate"), so what tells a child about language, time, certificates, proxies and caches passes as well.
"""

from collections.abc import Mapping

from openai_proxy.children import inherited

MARK = "OPENAI_PROXY_MCP_CHILD"
"""Set to a value of its own for each child, so that descendants which left the process group are still found."""

_NAMES = frozenset(
    {"NODE_EXTRA_CA_CERTS", "PIP_CERT", "PIP_INDEX_URL", "PIP_CACHE_DIR", "DOCKER_HOST", "DOCKER_CONFIG"}
)
_PREFIXES = ("UV_", "npm_config_", "NPM_CONFIG_")


def child_environment(environ: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: what is safe of `environ`, then `own` (the server's `env:`), which wins."""
    return inherited(environ, _NAMES, _PREFIXES) | dict(own)
