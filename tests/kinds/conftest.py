"""One daemon with a connection of every kind."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.kinds.vendors import VENDORS

MINE = '''
"""Inference functions of the owner's."""


def speak(messages, temperature=None):
    """Repeats the last message word by word; calls a tool where it is asked to."""
    text = messages[-1]["content"]
    if text == "call theirs":
        yield {"tool_calls": [{"index": 0, "id": "call_local", "type": "function",
                               "function": {"name": "theirs", "arguments": '{"a":1}'}}]}
        return
    if text == "call double":
        yield {"tool_calls": [{"index": 0, "id": "call_local", "type": "function",
                               "function": {"name": "double", "arguments": '{"number":21}'}}]}
        return
    if text == "fail":
        raise RuntimeError("no luck")
    if text == "fail later":
        yield "half "
        raise RuntimeError("no luck")
    if text == "forever":
        while True:
            yield "word "
    for word in text.split(" "):
        yield word + " "
'''

TOOLS = '''
from openai_proxy import tool


@tool
def double(number: int) -> str:
    """Double a number."""
    return str(number * 2)
'''


def model_files() -> dict[str, str]:
    """An augmented model on each kind of connection."""
    kinds = [*VENDORS, "local", "echo"]
    return {
        f"models/{kind}.yaml": f"name: augmented/{kind}\nupstream_model: '{kind}:m-{kind}'\ntools: [double]\n"
        for kind in kinds
    }


def kinds_conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """A connection of every kind, named after its kind."""
    base = upstream.url.removesuffix("/v1")  # a URL without a path gets /v1
    connections = {kind: connection(base, api_type=kind) for kind in VENDORS}
    connections["local"] = {"api_type": "local", "callable": "mine.speak"}
    connections["echo"] = {"api_type": "echo"}
    return {"connections": connections, "default_connection": "openai", **more}


@pytest.fixture(scope="session")
def kinds(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon. Afterwards no client and no complaint may be left."""
    files = {"mine.py": MINE, "tools/double.py": TOOLS, **model_files()}
    daemon = Daemon(tmp_path_factory.mktemp("kinds"), kinds_conf(upstream), files=files).start()
    try:
        yield daemon
        daemon.close_wires()
        daemon.stop()
    finally:
        daemon.kill()
