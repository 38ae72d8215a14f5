"""The environment a stdio server starts with: clean of our keys, complete enough for npx and uvx behind a proxy.

The SDK passes HOME, LOGNAME, PATH, SHELL, TERM and USER only; behind a private CA that breaks `uvx` ("invalid peer
certificate"), so what tells a child about language, time, certificates, proxies and caches passes as well. A
provider key, NOTIFY_SOCKET or CREDENTIALS_DIRECTORY never does.
"""

import re
from collections.abc import Mapping

from openai_proxy.secrets import vault

MARK = "OPENAI_PROXY_MCP_CHILD"
"""Set to a value of its own for each child, so that descendants which left the process group are still found."""

_NAMES = frozenset(
    {
        *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_CERT"),
        *("PIP_INDEX_URL", "PIP_CACHE_DIR", "DOCKER_HOST", "DOCKER_CONFIG"),
    }
)
_PREFIXES = ("LC_", "XDG_", "UV_", "npm_config_", "NPM_CONFIG_")
_CREDENTIAL = re.compile(r"token|passw|secret|auth|api_?key|credential", re.IGNORECASE)


def child_environment(environ: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: what is safe of `environ`, then `own` (the server's `env:`), which wins."""
    kept = {name: value for name, value in environ.items() if _may_pass(name, value)}
    kept.update(own)
    return kept


def _may_pass(name: str, value: str) -> bool:
    if name not in _NAMES and (not name.startswith(_PREFIXES) or _CREDENTIAL.search(name)):
        return False
    # An exported shell function ("() { …") is code, and a value that holds a known key is a key by another name.
    return not value.startswith("()") and not vault.found_in(value)
