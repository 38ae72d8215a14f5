"""Augmented models in service: the prompt, the tools and the loop's settings of each model file.

Imported only if there is a model, a tool file or `execute_tools`: pass-through installations do not pay for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openai_proxy.agent.conversations import ConversationMemories
from openai_proxy.agent.turn import LoopSettings
from openai_proxy.config.model_file import McpFilter, ModelConfig
from openai_proxy.config.problems import Problem, did_you_mean
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.prompt.prompt import Prompt
from openai_proxy.prompt.templates import TemplateCache, TemplateCall
from openai_proxy.tools import custom
from openai_proxy.tools.base import Tool
from openai_proxy.tools.custom import CustomTools
from openai_proxy.tools.find_tools import ModelTools
from openai_proxy.tools.mcp.context import MEMBERS as CONTEXT_MEMBERS
from openai_proxy.tools.mcp.context import context_tools
from openai_proxy.tools.mcp.supervisor import Supervisor
from openai_proxy.tools.mcp.tool import Appearance
from openai_proxy.tools.skills import skill_tools
from openai_proxy.tools.toolbox import Toolbox, Toolset, build_toolset, offered
from openai_proxy.tools.workers import Workers

DEVICE_TOOLS_WAIT = 1.5
"""Seconds that a request waits for tools which only its satellite has."""

DeviceTools = Callable[[str, float], Awaitable[Sequence[Tool]]]
"""What a model's servers additionally offer for one satellite, if they answer within that many seconds."""


@dataclass(frozen=True, slots=True)
class AugmentedModel:
    """One model file in service."""

    config: ModelConfig
    prompt: Prompt
    tools: Toolset
    offering: ModelTools
    settings: LoopSettings
    servers: tuple[str, ...]  # the MCP servers it uses
    device_tools: DeviceTools
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class AugmentedModels:
    """All augmented models of one configuration, and all tools.

    A tool that any model's `confirm` names needs consent everywhere: `confirm` are all those globs.
    """

    models: Mapping[str, AugmentedModel]
    custom: CustomTools
    everything: Toolset
    context: Toolbox  # callable by templates only
    problems: tuple[Problem, ...]
    confirm: tuple[str, ...] = ()


class SharedResources:
    """What augmented models share and keep across edits: threads for handlers, cached results."""

    def __init__(self) -> None:
        self.workers = Workers()
        self.cache = TemplateCache()
        self.conversations = ConversationMemories()


class PreviousGeneration(Protocol):
    """The generation to be replaced, as far as its models matter."""

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that it was made from."""
        ...

    @property
    def augmented(self) -> AugmentedModels | None:
        """Its models; None where there were none."""
        ...


def load_tools(snapshot: Snapshot, previous: CustomTools | None, state_dir: Path | None = None) -> CustomTools:
    """Import what changed in conf/tools; fetched documents are in `state_dir`. Blocks: not for the loop."""

    def label(path: Path) -> str:
        return snapshot.place("tool", path.name)[0]

    loaded = custom.load(snapshot.tool_files, previous, label=label)
    if not any(file.tools for file in snapshot.declared_tools):
        return loaded
    from openai_proxy.tools.declared.documents import FOLDER, DocumentStore
    from openai_proxy.tools.declared.load import with_declared

    def place(path: Path, at: tuple[str | int, ...]) -> tuple[str, int, int]:
        return snapshot.place("tool", path.name, at)

    documents = DocumentStore(state_dir / FOLDER if state_dir is not None else None)
    return with_declared(loaded, snapshot.declared_tools, previous, documents, place)


def build(
    snapshot: Snapshot,
    tools: CustomTools,
    supervisor: Supervisor,
    workshop: SharedResources,
    previous: PreviousGeneration | None = None,
) -> AugmentedModels:
    """Create the models of `snapshot`. A problem with one does not affect the others.

    A model that is unchanged since `previous` is the same object.
    """
    enabled = [name for name, server in snapshot.servers.items() if server.enabled]
    confirm = tuple(dict.fromkeys(glob for config in snapshot.models.values() for glob in config.confirm))
    live = _live(supervisor, dict.fromkeys(enabled, McpFilter()))
    everything = build_toolset(tools.handlers, workshop.workers, live, confirm)
    known = _still_true(snapshot, tools, previous)
    models: dict[str, AugmentedModel] = {}
    for name, config in snapshot.models.items():
        model = known.get(name)
        if model is None or model.config is not config:
            model = _model(snapshot, config, tools, supervisor, workshop)
        models[name] = model
    problems = [problem for model in models.values() for problem in model.problems]
    context = Toolbox(context_tools(supervisor))
    return AugmentedModels(models, tools, everything, context, (*tools.problems, *problems), confirm)


def _still_true(
    snapshot: Snapshot, tools: CustomTools, previous: PreviousGeneration | None
) -> Mapping[str, AugmentedModel]:
    """The models of `previous`, if everything that models share (tools, skills, names of servers) is unchanged."""
    if previous is None or previous.augmented is None:
        return {}
    before, augmented = previous.snapshot, previous.augmented
    same = (
        tools.handlers == augmented.custom.handlers
        and snapshot.skills == before.skills
        and snapshot.servers.keys() == before.servers.keys()
    )
    return augmented.models if same else {}


def _model(
    snapshot: Snapshot,
    config: ModelConfig,
    tools: CustomTools,
    supervisor: Supervisor,
    workshop: SharedResources,
) -> AugmentedModel:
    problems: list[Problem] = []

    def report(index: int, message: str) -> None:
        problems.append(Problem(*snapshot.place("model", config.name, ("tools", index)), message))

    prompt = Prompt.of(config, snapshot.skills)
    fixed: list[Tool] = [
        *offered(config.tools, tools.handlers, workshop.workers, report=report, complete=not tools.waiting),
        *skill_tools(prompt.loadable, workshop.workers),
    ]
    servers = tuple(name for name in config.mcp_servers if name in snapshot.servers)
    read = dict.fromkeys(server for _, server in _context_calls(prompt, tools) if server in snapshot.servers)
    filters = {name: config.mcp_servers[name] for name in servers}
    problems.extend(_unknown_templates(snapshot, config, prompt, tools))
    toolset = Toolset(fixed, _live(supervisor, filters) if servers else None, config.confirm)
    return AugmentedModel(
        config=config,
        prompt=prompt,
        tools=toolset,
        offering=ModelTools(toolset, {name: rule.defer for name, rule in filters.items()}),
        settings=LoopSettings.of(config),
        servers=tuple(dict.fromkeys((*servers, *read))),
        device_tools=_device_tools(supervisor, filters),
        problems=tuple(problems),
    )


def _live(supervisor: Supervisor, filters: Mapping[str, McpFilter]) -> Callable[[], Sequence[Tool]]:
    """The current tools of some MCP servers, as a model sees them."""
    looks = _appearances(filters)

    def tools() -> Sequence[Tool]:
        return [
            tool
            for server, rule in filters.items()
            for tool in supervisor.tools(server, rule.whitelist, rule.blacklist, looks[server])
        ]

    return tools


def _device_tools(supervisor: Supervisor, filters: Mapping[str, McpFilter]) -> DeviceTools:
    """The tools that some MCP servers offer for one satellite only, as a model sees them."""
    looks = _appearances(filters)

    async def tools(device: str, within: float) -> Sequence[Tool]:
        found: list[Tool] = []
        try:
            async with asyncio.timeout(min(within, DEVICE_TOOLS_WAIT)):
                for server, rule in filters.items():
                    look = looks[server]
                    found += await supervisor.device_tools(server, device, rule.whitelist, rule.blacklist, look)
        except TimeoutError:
            pass
        return found

    return tools


def _appearances(filters: Mapping[str, McpFilter]) -> dict[str, Appearance]:
    return {
        server: Appearance(tuple(sorted(rule.rename.items())), tuple(sorted(rule.describe.items())))
        for server, rule in filters.items()
    }


def _unknown_templates(
    snapshot: Snapshot, config: ModelConfig, prompt: Prompt, tools: CustomTools
) -> Iterable[Problem]:
    """Template calls of unknown tools. A configured server's tools are known only once it runs, but its prefix is."""
    missing = () if tools.waiting else prompt.template.unknown(known_names(snapshot, tools))
    wrong = [(call, why) for call, server in _context_calls(prompt, tools) if (why := _fault(snapshot, call, server))]
    calls = prompt.template.calls if missing or wrong else ()
    where = dict(zip(map(id, calls), places(snapshot, config, (call.source for call in calls)), strict=True))
    for call, why in wrong:
        yield Problem(*where[id(call)], f"the template {call.source[:80]!r} {why}")
    for call in missing:
        hint = did_you_mean(call.name, tools.handlers)
        message = f"the template {call.source[:80]!r} calls an unknown tool{hint}; its text is left as it is"
        yield Problem(*where[id(call)], message)


def known_names(snapshot: Snapshot, tools: CustomTools) -> Callable[[str], bool]:
    """Says whether a template may call a tool of this name."""
    prefixes = tuple(f"mcp_{server}_" for server in snapshot.servers)
    return lambda name: name in tools.handlers or name.startswith(prefixes) or name in CONTEXT_MEMBERS


def _fault(snapshot: Snapshot, call: TemplateCall, server: str) -> str | None:
    """What is wrong with a template that reads from `server`."""
    needed = ("server", CONTEXT_MEMBERS[call.name])
    if absent := [name for name in needed if not isinstance(call.arguments.get(name), str)]:
        return f"needs {' and '.join(absent)}"
    if server not in snapshot.servers:
        return f'names no MCP server of servers.yaml: "{server[:64]}"{did_you_mean(server, snapshot.servers)}'
    return None


def _context_calls(prompt: Prompt, tools: CustomTools) -> list[tuple[TemplateCall, str]]:
    """The templates that read from an MCP server, and from which."""
    return [
        (call, str(call.arguments.get("server") or ""))
        for call in prompt.template.calls
        if call.name in CONTEXT_MEMBERS and call.name not in tools.handlers
    ]


def places(snapshot: Snapshot, config: ModelConfig, sources: Iterable[str]) -> list[tuple[str, int, int]]:
    """The place in the file of each of `sources`, pieces of the prompt in order.

    A piece is searched for after the one before it; one that YAML wrote differently (escapes, folded lines) gets the
    prompt's own place.
    """
    place = file, line, column = snapshot.place("model", config.name, ("system_prompt",))
    text = snapshot.text_of(file)
    here = _offset(text, line, column)
    found: list[tuple[str, int, int]] = []
    for source in sources:
        at = text.find(source.partition("\n")[0], here)
        if at < 0:
            found.append(place)
            continue
        found.append((file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)))
        here = at + 2
    return found


def _offset(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
        if start == 0:
            return len(text)
    return start + column - 1
