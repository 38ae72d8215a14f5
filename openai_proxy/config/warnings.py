"""Warnings about what works but is probably a mistake: `openai-proxy check` prints them and still exits with 0."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from openai_proxy.config import files, slips
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.problems import WARNING, Problem, did_you_mean, warning
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.config.sources import Path as KeyPath
from openai_proxy.config.yaml_text import Node
from openai_proxy.nearest import nearest

_BARE_VARIABLE: Final = re.compile(
    r"(?<!\$)\$\(?([A-Z_][A-Z0-9_]+)\)?|^%([A-Z_][A-Z0-9_]+)%$|^\{\{ ?([A-Z_][A-Z0-9_]+) ?\}\}$"
    r"|(?:\bos\.environ/|\bprocess\.env\.)([A-Z_][A-Z0-9_]+)"
)
"""A variable as shells, Windows, templates and other proxies write it."""
_UNCLOSED: Final = re.compile(r"(?<!\$)\$\{[A-Za-z_]\w*(?:\Z|[^\w}:])")
_OWNERS_TEXT: Final = frozenset({"system_prompt", "description", "content", "tools"})
_PROVIDERS: Final = frozenset(
    {"anthropic", "claude", "deepseek", "gemini", "google", "groq", "litellm", "lmstudio", "mistral", "ollama",
     "openai", "openrouter", "together", "vllm", "xai"}
)  # fmt: skip
"""Names that people give a connection and no vendor uses before a model's colon (`llama3:8b` is one model)."""
_BESIDE: Final = re.compile(r"readme|licen[cs]e|requirements", re.IGNORECASE)
_READ: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "models": ((".yaml", ".yml"), "models are *.yaml"),
    "skills": ((".md", ".yaml", ".yml"), "skills are *.md, *.yaml, or folders with a SKILL.md"),
    "tools": ((".py", ".yaml", ".yml", ".json"), "tools are *.py or *.yaml"),
}
"""For each folder, the endings that are read there, and what to report."""
_SETTINGS: Final = (".yaml", ".yml", ".json", ".toml")


def is_warning(problem: Problem) -> bool:
    """True for what does not make a configuration invalid."""
    return problem.message.startswith(WARNING)


def warnings(snapshot: Snapshot) -> Iterator[Problem]:
    """The warnings, each with its place; `message` begins with "warning: "."""
    for warn in (
        _reverse_proxy_without_keys,
        _budgets_nobody_counts,
        _no_default,
        _upstream_models,
        _deadlines,
        _bare_variables,
        _unread_files,
        slips.placeholders,
        slips.expressions,
        slips.names_of_groups,
        slips.frontmatter,
        slips.languages,
        slips.paths,
    ):
        yield from warn(snapshot)


def _reverse_proxy_without_keys(snapshot: Snapshot) -> Iterator[Problem]:
    proxy = snapshot.proxy
    keys = any(group.api_keys for group in proxy.groups.values()) or proxy.check_api_key or proxy.require_api_key
    if proxy.trusted_proxies and not keys:
        yield warning(
            snapshot.place("proxy", None, ("trusted_proxies",)),
            "behind a reverse proxy keys are needed, but no group has any: anyone who reaches the reverse proxy from "
            "an address it considers private is served",
        )


def _budgets_nobody_counts(snapshot: Snapshot) -> Iterator[Problem]:
    proxy = snapshot.proxy
    dollars = proxy.currency == "USD"
    if proxy.prices or (proxy.bundled_prices and dollars):
        return
    why = (
        "except costs that providers report themselves"
        if dollars
        else f"in {proxy.currency}, because the bundled prices are in USD"
    )
    for name, group in proxy.groups.items():
        for limit in ("cost_per_day", "cost_per_month"):
            if getattr(group.limits, limit) is not None:
                place = snapshot.place("proxy", None, ("groups", name, "limits", limit))
                yield warning(place, f"nothing counts {why}: set the prices of models in `prices`")


def _no_default(snapshot: Snapshot) -> Iterator[Problem]:
    proxy = snapshot.proxy
    if len(proxy.connections) < 2 or proxy.default_connection is not None or "*" in proxy.routing:
        return
    if "default_connection" in _written(snapshot):
        return  # it names no connection, which is a separate problem
    names = ", ".join(list(proxy.connections)[:6])
    yield warning(
        snapshot.origins["proxy", None].place(("connections",), key=True),
        f"there are several connections and no default_connection: a model that no rule of routing matches is "
        f"refused; add default_connection (one of: {names})",
    )


def _written(snapshot: Snapshot) -> dict[str, tuple[int, int, Node]]:
    """The members of proxy.yaml as written, whether valid or not."""
    origin = snapshot.origins.get(("proxy", None))
    return (origin.node.entries or {}) if origin is not None and origin.node is not None else {}


def _upstream_models(snapshot: Snapshot) -> Iterator[Problem]:
    for model in snapshot.models.values():
        words = _augmented(snapshot, model) or _unknown_connection(snapshot, model.upstream_model)
        if words is not None:
            yield warning(snapshot.place("model", model.name, ("upstream_model",)), words)


def _deadlines(snapshot: Snapshot) -> Iterator[Problem]:
    """A turn whose deadline is shorter than one of its tools' timeouts: that timeout, if written, has no effect."""
    for model in snapshot.models.values():
        for name in ("tool_timeout", "template_timeout"):
            limit: float = getattr(model, name)
            if model.deadline is not None and name in model.model_fields_set and limit >= model.deadline:
                yield warning(
                    snapshot.place("model", model.name, (name,)),
                    f"{name} is {limit:g} s, but the whole turn must end after {model.deadline:g} s (deadline): make "
                    f"{name} shorter, so that the model can still say what went wrong",
                )


def _augmented(snapshot: Snapshot, model: ModelConfig) -> str | None:
    """Why `upstream_model` names a model of this directory by mistake; None if it does not."""
    other = snapshot.models.get(model.upstream_model)
    if other is None or other is model or model.upstream_model in snapshot.proxy.routing:
        return None
    if other.upstream_model in ("", other.name):
        return None  # that model file deliberately has the name of a real model
    return (
        f'"{model.upstream_model[:80]}" is itself an augmented model, and these cannot be stacked: the provider is '
        f'asked for a model of that name; write what it uses, "{other.upstream_model[:80]}"'
    )


def _unknown_connection(snapshot: Snapshot, upstream: str) -> str | None:
    """Why `upstream` seems to name a connection that does not exist; None if it does not."""
    connections, declared = snapshot.proxy.connections, _written(snapshot).get("connections")
    known = {*connections, *((declared[2].entries or {}) if declared is not None else {})}
    name, colon, model = upstream.partition(":")
    if colon and name not in known and (name.lower() in _PROVIDERS or nearest(name, known)):
        hint = did_you_mean(name, known) or f" (there are: {', '.join(sorted(known)[:6])})"
        return f'there is no connection "{name[:60]}"{hint}, so "{upstream[:80]}" is treated as the name of a model'
    name, dot, model = upstream.partition(".")
    if dot and name in connections and not _has_rule(snapshot, upstream):
        return f'to ask the connection {name}, write "{name}:{model[:80]}": connection.model is read in routing only'
    return None


def _has_rule(snapshot: Snapshot, name: str) -> bool:

    return any(fnmatchcase(name, rule) for rule in snapshot.proxy.routing if rule != "*")


def _bare_variables(snapshot: Snapshot) -> Iterator[Problem]:
    for file, (_, root) in snapshot.memory.parsed.items():
        if not isinstance(root, Node):
            continue
        for path, node in _texts(root):
            if not _OWNERS_TEXT.isdisjoint(map(str, path)):
                continue
            if _UNCLOSED.search(node.value):
                yield warning((file, node.line, node.column), "a ${ without its }: the text is used literally")
            if (words := slips.in_text(path, node.value)) is not None:
                yield warning((file, node.line, node.column), words)
            found = _BARE_VARIABLE.search(node.value)
            if found is None:
                continue
            name = next(filter(None, found.groups()))
            yield warning(
                (file, node.line, node.column),
                f'write the variable {name} as "${{{name}}}": without the braces, this text itself is the value '
                "($$ is a literal $)",
            )


def _texts(node: Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
    """Every text below `node`, with its path."""
    if isinstance(node.value, str):
        yield path, node
    for key, (_, _, member) in (node.entries or {}).items():
        yield from _texts(member, (*path, key))
    for index, member in enumerate(node.items or ()):
        yield from _texts(member, (*path, index))


def _unread_files(snapshot: Snapshot) -> Iterator[Problem]:
    root = snapshot.config_dir
    for folder, (endings, words) in _READ.items():
        for path in _beside(root / folder, endings):
            if path.suffix or folder == "models":
                yield warning((str(path), 1, 1), f"this file is not read: {words}")
    for path in _folders(root / "models"):
        if any(name.endswith((".yaml", ".yml")) for name in _names(path)):
            yield warning((str(path), 1, 1), "nothing in this folder is read: move its files up to models/")
    servers = root / "mcp" / ("servers.yaml" if (root / "mcp" / "servers.yaml").exists() else "servers.yml")
    for path in _beside(root / "mcp", ()):
        if path != servers and path.suffix in _SETTINGS:
            take_over = "; `openai-proxy import FILE` converts it" if path.suffix == ".json" else ""
            yield warning(
                (str(path), 1, 1), f"this file is not read: MCP servers belong in mcp/servers.yaml{take_over}"
            )
    documents = {getattr(tool, "source", "") for file in snapshot.declared_tools for tool in file.tools}
    for path in _beside(root, ()):
        if path.name != "proxy.yaml" and path.suffix in _SETTINGS and str(path) not in documents:
            place = nearest(path.stem, ("proxy", "servers"))
            hint = "; MCP servers belong in mcp/servers.yaml" if place == ["servers"] else ""
            yield warning((str(path), 1, 1), f"this file is not read: settings belong in proxy.yaml{hint}")


def _names(directory: Path) -> list[str]:
    try:
        return files.names(directory)
    except files.Unreadable:
        return []  # a separate problem


def _beside(directory: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """The files of `directory` with none of `endings`, except those meant for people."""
    for name in _names(directory):
        path = directory / name
        if not name.endswith(endings or ("\0",)) and not _BESIDE.match(name) and path.is_file():
            yield path


def _folders(directory: Path) -> Iterator[Path]:
    for name in _names(directory):
        if (directory / name).is_dir():
            yield directory / name
