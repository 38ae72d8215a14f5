"""What works and is surely not meant: told by `openai-proxy check`, which ends with 0 all the same."""

from collections.abc import Iterator

from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Snapshot


def warnings(snapshot: Snapshot) -> Iterator[Problem]:
    """Each with its place; `message` begins with "warning: "."""
    proxy = snapshot.proxy
    keys = any(group.api_keys for group in proxy.groups.values()) or proxy.check_api_key or proxy.require_api_key
    if proxy.trusted_proxies and not keys:
        yield Problem(
            *snapshot.place("proxy", None, ("trusted_proxies",)),
            "warning: behind a reverse proxy keys are a must, and no group has any: whoever reaches the reverse proxy "
            "from an address it calls private is served",
        )
