"""What a child process may inherit of our environment: what tells it about the machine, and never one of our keys.

Whoever starts a child (MCP servers, local models) adds names of its own. NOTIFY_SOCKET, CREDENTIALS_DIRECTORY and
provider keys are in nobody's list, and a value that holds a known secret is a key by another name.
"""

from collections.abc import Collection, Mapping

from openai_proxy.secrets import SECRET_NAME, vault

_NAMES = frozenset(
    {
        *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    }
)
_PREFIXES = ("LC_", "XDG_")


def inherited(
    environ: Mapping[str, str], names: Collection[str] = (), prefixes: tuple[str, ...] = ()
) -> dict[str, str]:
    """What of `environ` a child gets: the usual, `names`, and what begins with `prefixes` and names no credential."""
    starts = _PREFIXES + prefixes
    return {
        name: value
        for name, value in environ.items()
        if (name in _NAMES or name in names or (name.startswith(starts) and not SECRET_NAME.search(name)))
        # An exported shell function ("() { …") is code.
        and not value.startswith("()")
        and not vault.found_in(value)
    }
