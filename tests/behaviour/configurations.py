"""The configuration of these tests: two connections to the scripted upstream, and one that reaches no server."""

from typing import Any

from tests.harness.daemon import CANARY
from tests.harness.upstream import Upstream


def conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """`one` and `two` reach the upstream and are distinguished by a header; `dead` reaches no server."""

    def connection(name: str, url: str = upstream.url) -> dict[str, Any]:
        return {
            "api_type": "openai", "api_base": url, "api_key": CANARY, "headers": {"x-connection": name},
            "max_retries": 0, "timeout": {"connect": 30, "first_byte": 20, "idle": 20},
        }  # fmt: skip

    connections = {"one": connection("one"), "two": connection("two"), "dead": connection("dead", "http://127.0.0.1:9")}
    return {"connections": connections, "default_connection": "one", **more}
