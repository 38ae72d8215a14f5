"""conf/proxy.yaml with the environment and flags applied, as one validated ProxyConfig."""

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
from openai_proxy.config.validate import copied, validate, without_mistakes
from openai_proxy.config.yaml_text import Node

ENTRY_DEPTH = {"connections": 2, "routing": 2, "groups": 2, "prices": 2, "loggers": 2}
"""How much is left out with a missing variable: that connection, route, group, ...; else the whole setting."""

WITHOUT_PROVIDER: Mapping[str, ConnectionConfig] = {"echo": ConnectionConfig(api_type="echo", proxy="none")}
"""The connections if none are configured."""

FOREIGN = {
    "model_list": "a configuration of LiteLLM",
    "litellm_settings": "a configuration of LiteLLM",
    "primary_backends": "a config.json with primary_backends",
    "mcpServers": "an mcpServers file (Claude Desktop, Cursor)",
}
"""Keys that identify another program's configuration."""

GUARDS = frozenset({"groups", "check_api_key", "require_api_key"})
"""Settings that keep strangers out: if one is lost, keys are required in any case."""


@dataclass(frozen=True, slots=True)
class ProxyFile:
    """`config` is None if syntax, keys or types are wrong; then `problems` say why.

    `dropped` are the (section, name) pairs lost to a missing variable or a mistake. `salvaged` is `config` without the
    mistakes, used to look for more of them.
    """

    config: ProxyConfig | None
    problems: tuple[Problem, ...]
    origin: SourceOrigin
    dropped: frozenset[Path] = frozenset()
    salvaged: ProxyConfig | None = None


def read_proxy(
    node: Node, file: str, environment: Environment, flags: Mapping[str, object], *, partial: bool = False
) -> ProxyFile:
    """Validate the content of proxy.yaml (`node`; an empty one is fine) with `environment` and `flags` applied.

    `partial`: `node` is what is left of a broken file.
    """
    wrong_root = _wrong_root(node)
    if wrong_root is not None:
        return ProxyFile(None, (Problem(file, node.line, node.column, wrong_root),), SourceOrigin(file, node))
    original = node.value or {}
    data = copied(original)
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
    """Problems with the file as a whole."""
    if node.entries is None:
        if node.value is None:
            return None
        from openai_proxy.config.yaml_words import invisible

        text = node.value if isinstance(node.value, str) else ""
        hint = ": is a space missing after a colon?" if ":" in text else ""
        if (odd := invisible(text)) is not None:
            hint = f": it contains {odd[1]}, retype it"
        hint = hint or (": a setting is written with a colon, not with =" if "=" in text else "")
        return f"expected a mapping (key: value){hint}"
    for known, program in FOREIGN.items():
        if known in node.entries:
            return f"this is {program}: move it elsewhere, and convert it with `openai-proxy import FILE`"
    return None


def _under(path: Path, over: Overlay) -> bool:
    return _within(path, over.remove)


def _within(path: Path, roots: Iterable[Path]) -> bool:
    return any(path[: len(root)] == root for root in roots)


def _covered(
    original: Mapping[str, Any], node: Node, file: str, over: Overlay, environment: Environment
) -> list[Problem]:
    """Problems with members of the file that a variable or flag overrides: the flag may be absent next time."""
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
        is_known = _within(path, hidden) and not _within(path, absent)
        return origin.place(path, key=key) if is_known else ("", 1, 1)

    traps = {path: trapped.trap.words for path, trapped in node.traps() if trapped.trap and _within(path, hidden)}
    _, mistakes = validate(ProxyConfig, data, locate, traps=traps)
    return [problem for problem in mistakes.problems if problem.file]


def _has(data: Any, path: Path) -> bool:
    for step in path:
        if not isinstance(data, Mapping) or step not in data:
            return False
        data = data[step]
    return True


def _drop(
    data: dict[str, Any], missing: list[tuple[Path, str]], node: Node, file: str
) -> tuple[list[Problem], frozenset[Path]]:
    """Remove each entry with a missing variable; settings that restrict access fail closed."""
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
            # Without any key, every local program would be an admin: a key that nobody has prevents that.
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
    """Add implied settings: the offline echo if nothing is configured, the default of a single connection."""
    if (
        not config.connections
        and not original.get("connections")
        and config.default_connection in (None, "echo")
        and not _anything_set(environment)
    ):
        return config.model_copy(update={"connections": dict(WITHOUT_PROVIDER), "default_connection": "echo"})
    if config.default_connection is None and len(config.connections) == 1 and len(_declared(original)) <= 1:
        return config.model_copy(update={"default_connection": next(iter(config.connections))})
    return config


def _declared(original: Mapping[str, Any]) -> Any:
    return original.get("connections") or ()


def _anything_set(environment: Environment) -> bool:
    """True if a variable that creates a connection is set, valid or not: echo must not hide a mistake."""
    return any(row.makes and environment.variables.get(row.name, "").strip() for row in VARIABLES)
