"""The environment of a child."""

import pytest

from openai_proxy.secrets import vault
from openai_proxy.tools.mcp.settings import child_environment


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "XDG_CACHE_HOME",
        "https_proxy",
        "SSL_CERT_FILE",
        "UV_CACHE_DIR",
        "npm_config_cache",
    ],
)
def test_needed_variables_pass(name: str) -> None:
    assert child_environment({name: "x"}, {}) == {name: "x"}


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "NOTIFY_SOCKET", "LISTEN_FDS", "CREDENTIALS_DIRECTORY", "PYTHONPATH"),
        *("UV_PUBLISH_TOKEN", "UV_INDEX_X_PASSWORD", "npm_config__authToken", "LD_PRELOAD", "MY_PROXY"),
    ],
)
def test_our_own_variables_do_not(name: str) -> None:
    assert child_environment({name: "x"}, {}) == {}


def test_a_known_key_never_passes_and_neither_does_a_function() -> None:
    vault.learn(["sk-in-a-harmless-place"])
    environ = {"TMPDIR": "/x/sk-in-a-harmless-place", "TERM": "() { :; }; echo"}
    assert child_environment(environ, {}) == {}


def test_the_servers_own_variables_win() -> None:
    assert child_environment({"PATH": "/bin"}, {"PATH": "/own", "KEY": "v"}) == {"PATH": "/own", "KEY": "v"}
