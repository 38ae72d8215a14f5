"""conf/proxy.yaml with the environment and flags over it, as one checked ProxyConfig."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.config.environment import VARIABLES, Environment
from openai_proxy.config.interpolate import expand_all
from openai_proxy.config.overlay import Overlay, overlay, put_in, take_out
from openai_proxy.config.problems import Problem
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.sources import Path, Place, SourceOrigin
from openai_proxy.config.validate import validate, without_mistakes
from openai_proxy.config.yaml_text import Node

ENTRY_DEPTH = {"connections": 2, "routing": 2, "groups": 2, "prices": 2, "loggers": 2}
"""How much a missing variable takes with it: that connection, route, group, ...; else the whole setting."""

FOREIGN = {
    "model_list": "a configuration of LiteLLM",
    "litellm_settings": "a configuration of LiteLLM",
    "primary_backends": "a config.json with primary_backends",
    "mcpServers": "an mcpServers file (Claude Desktop, Cursor)",
}
"""Keys by which another program's configuration is known."""

GUARDS = frozenset({"groups", "check_api_key", "require_api_key"})
"""Settings that keep strangers out: where one is lost, keys are required all the same."""


@dataclass(frozen=True, slots=True)
class ProxyFile:
    """`config` is None where syntax, keys or types are wrong; then `problems` say why.

    `dropped` are the (section, name) that a missing variable or a mistake has cost. `salvaged` is what `config` would
    be without the mistakes, to look for more of them.
    """

    config: ProxyConfig | None
    problems: tuple[Problem, ...]
    origin: SourceOrigin
    dropped: frozenset[Path] = frozenset()
    salvaged: ProxyConfig | None = None


def read_proxy(
    node: Node, file: str, environment: Environment, flags: Mapping[str, object], *, partial: bool = False
) -> ProxyFile:
    """Check the content of proxy.yaml (`node`; an empty one is fine) with `environment` and `flags` over it.

    `partial`: it is what is left of a broken file.
    """
    wrong_root = _wrong_root(node)
    if wrong_root is not None:
        return ProxyFile(None, (Problem(file, node.line, node.column, wrong_root),), SourceOrigin(file, node))
    original = node.value or {}
    data = _copy(original)
    over = overlay(original, environment, flags)
    for path in over.remove:
        take_out(data, path)
    data, missing = expand_all(data, environment.variables, lambda path: False)
    problems, dropped = _drop(data, missing, node, file)
    for path, value in over.put.items():
        if path[:2] not in dropped:
            put_in(data, path, value)
    problems += over.problems
    traps = {path: trapped.trap.words for path, trapped in node.traps() if trapped.trap and not _under(path, over)}

    origin = SourceOrigin(file, node, overlaid=over.places)
    config, mistakes = validate(
        ProxyConfig, data, lambda path, key: origin.place(path, key=key), traps=traps, partial=partial
    )
    wrong = mistakes.problems + _covered(original, node, file, over, environment)
    if config is None or wrong:
        salvaged = without_mistakes(ProxyConfig, data, mistakes) if config is None and not partial else None
        lost = {path[: ENTRY_DEPTH.get(str(path[0]), 1)] for path in mistakes.paths if path}
        return ProxyFile(None, (*wrong, *problems), origin, dropped | lost, salvaged)
    return ProxyFile(_finish(config, original, environment), tuple(problems), origin, dropped)


def _wrong_root(node: Node) -> str | None:
    """What is wrong with the file as a whole."""
    if node.entries is None:
        if node.value is None:
            return None
        hint = ": is a space missing after a colon?" if isinstance(node.value, str) and ":" in node.value else ""
        return f"expected a mapping (key: value){hint}"
    for known, program in FOREIGN.items():
        if known in node.entries:
            return f"this is {program}: move it elsewhere, and `openai-proxy import FILE` turns it into ours"
    return None


def _under(path: Path, over: Overlay) -> bool:
    return _within(path, over.remove)


def _within(path: Path, roots: Iterable[Path]) -> bool:
    return any(path[: len(root)] == root for root in roots)


def _covered(
    original: Mapping[str, Any], node: Node, file: str, over: Overlay, environment: Environment
) -> list[Problem]:
    """What is wrong with members of the file that a variable or flag lies over: today's flag is not tomorrow's."""
    hidden = [path for path in over.remove if _has(original, path)]
    if not hidden:
        return []
    sections = {path[0] for path in hidden}
    data, missing = expand_all(
        {key: value for key, value in original.items() if key in sections}, environment.variables, lambda path: False
    )
    absent = [path for path, _ in missing]
    for path in absent:
        take_out(data, path)
    origin = SourceOrigin(file, node)

    def locate(path: Path, key: bool) -> Place:
        told = _within(path, hidden) and not _within(path, absent)
        return origin.place(path, key=key) if told else ("", 1, 1)

    traps = {path: trapped.trap.words for path, trapped in node.traps() if trapped.trap and _within(path, hidden)}
    _, mistakes = validate(ProxyConfig, data, locate, traps=traps)
    return [problem for problem in mistakes.problems if problem.file]


def _has(data: Any, path: Path) -> bool:
    for step in path:
        if not isinstance(data, Mapping) or step not in data:
            return False
        data = data[step]
    return True


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(member) for key, member in value.items()}
    return [_copy(member) for member in value] if isinstance(value, list) else value


def _drop(
    data: dict[str, Any], missing: list[tuple[Path, str]], node: Node, file: str
) -> tuple[list[Problem], frozenset[Path]]:
    """Take out each entry with a missing variable; what guards the door is left shut, not open."""
    problems: list[Problem] = []
    dropped: set[Path] = set()
    lists: set[Path] = set()
    for path, name in missing:
        section = str(path[0])
        entry = path[: ENTRY_DEPTH.get(section, 1)]
        what = ".".join(map(str, entry))
        problems.append(
            Problem(file, *node.find(path), f"the environment variable {name} is not set, so {what} is left out")
        )
        if section == "admin_api_keys" and len(path) > 1:
            # Without any key the whole machine would be admin: a key that nobody has keeps the door shut.
            data[section][path[1]] = "sha256:" + hashlib.sha256(secrets.token_bytes(32)).hexdigest()
            continue
        if isinstance(entry[-1], int):
            lists.add(entry)
        else:
            take_out(data, entry)
        dropped.add(entry)
        if section in GUARDS:
            data["require_api_key"] = True
    for entry in sorted(lists, key=str, reverse=True):
        del data[str(entry[0])][entry[1]]
    return problems, frozenset(dropped)


def _finish(config: ProxyConfig, original: Mapping[str, Any], environment: Environment) -> ProxyConfig:
    """Fill in what follows from the rest: the offline echo of an empty house, the default of a single connection."""
    if (
        not config.connections
        and not original.get("connections")
        and config.default_connection in (None, "echo")
        and not _anything_set(environment)
    ):
        echo = ConnectionConfig(api_type="echo")
        return config.model_copy(update={"connections": {"echo": echo}, "default_connection": "echo"})
    if config.default_connection is None and len(config.connections) == 1 and len(_declared(original)) <= 1:
        return config.model_copy(update={"default_connection": next(iter(config.connections))})
    return config


def _declared(original: Mapping[str, Any]) -> Any:
    return original.get("connections") or ()


def _anything_set(environment: Environment) -> bool:
    """True if a variable that makes a connection was set, however wrongly: echo never hides a mistake."""
    return any(row.makes and environment.variables.get(row.name, "").strip() for row in VARIABLES)
