"""From conf/, `.env`, the environment and the flags to one Snapshot.

A broken file affects only itself: with `previous` it keeps its last good form, otherwise it is left out. Start-up fails
only if proxy.yaml is broken and there is no earlier form. Blocks (disk, 1.4 ms of parsing per new file): a running
daemon calls it in a thread.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from openai_proxy.config import files
from openai_proxy.config.checks import check_models, check_proxy
from openai_proxy.config.entries import load_models, load_python, load_servers, load_skills
from openai_proxy.config.environment import Environment, read_environment
from openai_proxy.config.last_good import words
from openai_proxy.config.outgoing import resolve, secrets_of
from openai_proxy.config.problems import ConfigError, Problem
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.proxy_file import read_proxy
from openai_proxy.config.reading import LoadState
from openai_proxy.config.secret_names import header_secrets
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.config.sources import Path as KeyPath
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.storage import secrets_of_storage
from openai_proxy.config.yaml_text import Node, parse
from openai_proxy.secrets import vault

if TYPE_CHECKING:
    from openai_proxy.config.tool_file import ToolFile


def load(
    config_dir: Path,
    env_file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
    previous: Snapshot | None = None,
    last_good: Path | None = None,
) -> Snapshot:
    """Read and check everything under `config_dir`, overridden by `env_file`, `environ` and `flags`.

    `flags` are those of environment.FLAGS; None is a flag not given. What is broken keeps its form in `previous` and is
    listed in `problems`. Without `previous`, a broken proxy.yaml is replaced by the copy at `last_good`; if there is
    none, or if a setting in the environment is invalid, ConfigError is raised.
    """
    environment = read_environment(env_file, environ, previous.memory.environment if previous else None)
    if previous is None and environment.broken:
        raise ConfigError(environment.broken)
    reading = LoadState(config_dir, environment, previous.memory if previous else None)
    found = _proxy(reading, flags or {}, previous) or _kept(reading, flags or {}, last_good)
    proxy, proxy_origin, excused = found or (ProxyConfig(), SourceOrigin(str(config_dir / "proxy.yaml")), frozenset())
    learn(proxy)

    models_dir = _models_dir(config_dir, environment)
    models = load_models(reading, models_dir)
    servers, declared = load_servers(reading)
    skills = load_skills(reading, models)
    tool_files = load_python(reading, config_dir / "tools")
    declared_tools = _tools_without_code(reading, config_dir / "tools")
    modules = load_python(reading, config_dir)

    if found is not None:
        upstream = {name for model, _ in models.values() for name in (model.name, model.upstream_model)}
        proxy, problems = check_proxy(proxy, proxy_origin, excused, upstream)
        reading.problems += problems
    excused_skills = {key.rpartition("/")[2] for key in reading.broken_skills}
    sound, problems = check_models(models, servers, declared, skills, excused_skills)
    reading.problems += problems + check_models(reading.salvaged, servers, declared, skills, excused_skills)[1]
    if found is None:
        raise ConfigError([*environment.problems, *reading.problems])

    origins = {("proxy", None): proxy_origin, **reading.origins}
    origins.update({("model", name): origin for name, (_, origin) in models.items()})
    return Snapshot(
        proxy=proxy,
        models=sound,
        servers={name: server for name, (server, _) in servers.items()},
        skills=skills,
        tool_files=tool_files,
        declared_tools=declared_tools,
        modules=modules,
        problems=(*environment.problems, *reading.problems),
        digest=reading.digest(flags or {}),
        config_dir=config_dir,
        watched=tuple(dict.fromkeys([config_dir, models_dir, *([env_file] if env_file else [])])),
        origins=origins,
        memory=reading.memory,
        proxy_text=reading.proxy_text,
    )


def _tools_without_code(reading: LoadState, directory: Path) -> "tuple[ToolFile, ...]":
    with contextlib.suppress(files.Unreadable):  # then it is reported below
        if not files.yaml_files(directory):
            return ()
    from openai_proxy.config.tool_entries import load_tool_files  # many installations have none

    return load_tool_files(reading, directory)


def _models_dir(config_dir: Path, environment: Environment) -> Path:
    """The directory of model files. MODELS_CONFIG_DIR may name it, or the conf/ that contains it.

    In the process's environment the latter is only the default of --config-dir, which was already applied.
    """
    if "MODELS_CONFIG_DIR" in environment.settings:
        named = Path(environment.settings["MODELS_CONFIG_DIR"])
        if not any((named / name).exists() for name in ("proxy.yaml", "models", "mcp")):
            return named
        if "MODELS_CONFIG_DIR" in environment.places:  # from .env
            return named / "models"
    return config_dir / "models"


def _proxy(
    reading: LoadState, flags: Mapping[str, object], previous: Snapshot | None
) -> tuple[ProxyConfig, SourceOrigin, frozenset[KeyPath]] | None:
    """proxy.yaml, or its complete last good form; None without either. Problems are reported in any case."""
    path = reading.config_dir / "proxy.yaml"
    try:
        data = files.read(path)
        other = reading.config_dir / "proxy.yml"
        if data is None and other.is_file():
            raise files.Unreadable("rename proxy.yml to proxy.yaml: only that name is read")
        node = reading.parse(path, data or b"")
        if isinstance(node, Node):
            result = read_proxy(node, str(path), reading.environment, flags)
            if result.config is not None:
                variables = reading.environment.variables
                config, trouble = resolve(result.config, result.origin, variables, reading.config_dir)
                reading.problems += [*result.problems, *trouble]
                reading.proxy_text = data or b""
                return config, result.origin, result.dropped
            reading.problems += result.problems
            if result.salvaged is not None:
                reading.problems += check_proxy(result.salvaged, result.origin, result.dropped, None)[1]
        else:
            reading.problems += node.problems
            if node.rest is not None and node.rest.entries:
                rest = read_proxy(node.rest, str(path), reading.environment, flags, partial=True)
                reading.problems += rest.problems
    except files.Unreadable as error:
        reading.problems.append(Problem(str(path), 1, 1, str(error)))
    if previous is None:
        return None
    return previous.proxy, previous.origins["proxy", None], frozenset()


def _kept(
    reading: LoadState, flags: Mapping[str, object], last_good: Path | None
) -> tuple[ProxyConfig, SourceOrigin, frozenset[KeyPath]] | None:
    """The configuration of the kept proxy.yaml, if it exists and is still valid."""
    try:
        data = files.read(last_good) if last_good is not None else None
    except files.Unreadable:
        return None
    if last_good is None or data is None:
        return None
    node = parse(data, str(last_good))
    if not isinstance(node, Node):
        return None
    result = read_proxy(node, str(last_good), reading.environment, flags)
    if result.config is None:
        return None
    config, trouble = resolve(result.config, result.origin, reading.environment.variables, reading.config_dir)
    notice = Problem(str(reading.config_dir / "proxy.yaml"), 1, 1, words(last_good))
    reading.problems += [notice, *result.problems, *trouble]
    return config, result.origin, result.dropped


def learn(proxy: ProxyConfig) -> None:
    """Register every key of proxy.yaml with the vault (a hash is not a secret)."""
    for connection in proxy.connections.values():
        vault.learn(connection.api_keys)
        vault.learn(header_secrets(connection.headers))
        vault.learn(secrets_of(connection))
    keys = [*proxy.admin_api_keys, *(key for group in proxy.groups.values() for key in group.api_keys)]
    vault.learn(header_secrets(proxy.telemetry.headers))
    vault.learn(key for key in keys if not key.startswith("sha256:"))
    vault.learn(secrets_of_storage(proxy.shared_storage))
