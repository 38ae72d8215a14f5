"""From conf/, `.env`, the environment and the flags to one Snapshot."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from openai_proxy.config.environment import read_environment
from openai_proxy.config.problems import ConfigError, Problem
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.proxy_file import read_proxy
from openai_proxy.config.snapshot import Origin, Snapshot
from openai_proxy.config.yaml_text import Node, parse
from openai_proxy.secrets import vault


def load(
    config_dir: Path,
    env_file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
    previous: Snapshot | None = None,
) -> Snapshot:
    """Read everything under `config_dir`. Raises ConfigError for a broken proxy.yaml without `previous`."""
    environment = read_environment(env_file, environ)
    file = config_dir / "proxy.yaml"
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        data = b""
    except OSError as error:
        raise ConfigError([Problem(str(file), 1, 1, f"cannot be read: {error.strerror}")]) from None
    node = parse(data, str(file))
    if isinstance(node, Problem):
        raise ConfigError([node])
    result = read_proxy(node, str(file), environment, flags or {})
    if result.config is None:
        raise ConfigError(result.problems)
    learn_proxy(result.config)
    return Snapshot(
        proxy=result.config,
        problems=environment.problems + result.problems,
        digest=hashlib.sha256(data + repr(sorted(environment.variables.items())).encode()).hexdigest(),
        config_dir=config_dir,
        origins={("proxy", None): Origin(str(file), node if isinstance(node, Node) else None)},
    )


def learn_proxy(config: ProxyConfig) -> None:
    """Tell the vault every key of proxy.yaml."""
    for connection in config.connections.values():
        vault.learn(connection.api_keys)
    for group in config.groups.values():
        vault.learn(key for key in group.api_keys if not key.startswith("sha256:"))
    vault.learn(key for key in config.admin_api_keys if not key.startswith("sha256:"))
