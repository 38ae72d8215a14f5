"""A generation without a daemon, for commands that explain what a configuration means."""

import asyncio
import os
from pathlib import Path

from openai_proxy.auth.validators import load as load_validator
from openai_proxy.config.load import load
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.errors import Unauthorized
from openai_proxy.exchange import Caller
from openai_proxy.runtime.generation import Generation, build
from openai_proxy.upstream.health import Health


def snapshot_of(config_dir: Path, env_file: Path) -> Snapshot:
    """The configuration in conf/. Raises ConfigError if proxy.yaml cannot be read."""
    return load(config_dir, env_file, os.environ)


def generation_of(snapshot: Snapshot) -> Generation:
    """`snapshot` compiled. Its validator is loaded, but nothing is opened or contacted."""
    dotted = snapshot.proxy.check_api_key
    validator = load_validator(dotted, snapshot.config_dir, None)[0] if dotted is not None else None
    return build(1, snapshot, {}, Health(), None, validator)


def caller_of(generation: Generation, key: str | None) -> Caller:
    """The caller that `key` belongs to; without one, a local one. Raises Unauthorized for an unknown key."""
    if key is None:
        return Caller("127.0.0.1")
    if not generation.gate.keys_required:
        return Caller("127.0.0.1")
    headers = {"x-api-key": key} if generation.gate.forwarding else {"Authorization": f"Bearer {key}"}
    try:
        return asyncio.run(generation.gate.admitted("127.0.0.1", headers))
    except Unauthorized:
        raise Unauthorized("this key is not known here") from None
