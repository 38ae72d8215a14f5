"""The daemon of these tests: a provider of each kind, an augmented model, keys, and clients of other APIs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream

KEY = "sk-family-0123456789"
FRIEND = "sk-friend-0123456789"


def configuration(upstream: Upstream) -> dict[str, Any]:
    """Its proxy.yaml."""
    root = upstream.url.removesuffix("/v1")
    return {
        "connections": {
            "main": connection(upstream.url),
            "box": connection(root, api_type="ollama", options={"num_ctx": 16384}, keep_alive="1h"),
            "warm": connection(root, api_type="ollama", params={"default": {"temperature": 0.25}}),
            "echo": {"api_type": "echo"},
        },
        "default_connection": "main",
        "routing": {"box-*": "box.*", "warm-*": "warm.*", "echo": "echo.echo"},
        "groups": {
            "family": {"api_keys": [KEY]},
            "friends": {"api_keys": [FRIEND], "allowed_models": ["echo"]},
        },
    }


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon."""
    root: Path = tmp_path_factory.mktemp("clients")
    files = {"models/home.yaml": "name: augmented/home\nupstream_model: echo\ntools: [calculator]\n"}
    with Daemon(root, configuration(upstream), files=files).serving(leaks=False) as running:
        yield running
