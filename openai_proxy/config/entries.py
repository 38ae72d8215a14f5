"""The files of conf/ besides proxy.yaml, each on its own: models, MCP servers, skills, Python files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_proxy.bounds import is_text
from openai_proxy.config import files
from openai_proxy.config.files import PythonFile, SkillPlace, Unreadable
from openai_proxy.config.interpolate import expand_all
from openai_proxy.config.problems import Problem, did_you_mean
from openai_proxy.config.reading import LoadState
from openai_proxy.config.sources import Path as KeyPath
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.validate import validate, without_mistakes
from openai_proxy.config.yaml_text import BrokenYaml, Node
from openai_proxy.secrets import vault

if TYPE_CHECKING:  # each is imported with the first file of its kind
    from openai_proxy.config.model_file import ModelConfig
    from openai_proxy.config.servers import ServerConfig
    from openai_proxy.config.skills import SkillFile

_OWNERS_TEXT = frozenset({("system_prompt",), ("description",), ("tools",)})


def _expanded(reading: LoadState, node: Node, origin: SourceOrigin, what: str) -> tuple[Any, bool]:
    """The value of `node` with its variables, and whether all are set; if not, `what` is reported as left out."""
    expanded, missing = expand_all(node.value, reading.environment.variables, _is_owners_text)
    for where, variable in missing:
        message = f"the environment variable {variable} is not set, so {what} is left out"
        reading.problems.append(Problem(*origin.place(where), message))
    return expanded, not missing


def _is_owners_text(path: KeyPath) -> bool:
    """True for plain text, in which nothing is expanded."""
    return path in _OWNERS_TEXT or (path[0] == "mcp_servers" and path[-1] == "describe")


_READ_AS_WRITTEN = frozenset({("tool_status",)})  # `off` is one of its words, but YAML 1.2 reads it as a boolean


def load_models(reading: LoadState, directory: Path) -> dict[str, tuple[ModelConfig, SourceOrigin]]:
    """Every valid model by name, with its place."""
    try:
        for path in files.yaml_files(directory):
            result = _model(reading, path)
            if result is not None:
                reading.memory.models[str(path)] = result
    except Unreadable as error:
        reading.report(directory, str(error))
        reading.memory.models = dict(reading.before.models)
    found = [(file, model, origin) for file, (_, model, origin) in reading.memory.models.items()]
    # A name in two files stays with the file that had it, else goes to the first.
    had = {entry[1].name: file for file, entry in reading.before.models.items() if file in reading.before.owners}
    owner: dict[str, tuple[str, ModelConfig, SourceOrigin]] = {}
    for entry in found:
        name = entry[1].name
        if name not in owner or had.get(name) == entry[0]:
            owner[name] = entry
    for file, model, origin in found:
        if owner[model.name][0] != file:
            first = owner[model.name][2].place(("name",))
            message = f'duplicate model "{model.name}": {first[0]}:{first[1]} already has that name; rename one'
            reading.problems.append(Problem(*origin.place(("name",)), message))
    reading.memory.owners = {entry[0] for entry in owner.values()}
    return {name: (model, origin) for name, (_, model, origin) in owner.items()}


def _model(reading: LoadState, path: Path) -> tuple[str, ModelConfig, SourceOrigin] | None:
    """One model file; its last good form if it is broken; None if there is nothing to serve."""
    last = reading.before.models.get(str(path))
    node = reading.read(path, "the file is empty: a model needs at least a `name`")
    if node is None:
        return None
    if isinstance(node, BrokenYaml):
        if node.rest is not None and node.rest.entries:
            _validated(reading, path, node.rest, partial=True)
        return last
    if last is not None and last[0] == reading.memory.parsed[str(path)][0] and reading.same_variables:
        return last
    return _validated(reading, path, node) or (None if _misses(reading, node) else last)


def _validated(
    reading: LoadState, path: Path, node: Node, *, partial: bool = False
) -> tuple[str, ModelConfig, SourceOrigin] | None:
    """The model in `node`, if valid; problems are reported. `partial`: `node` is what is left of a broken file."""
    from openai_proxy.config.model_file import ModelConfig

    origin = SourceOrigin(str(path), node)
    expanded, complete = _expanded(reading, node, origin, "this model")
    if not complete:
        return None
    model, mistakes = validate(
        ModelConfig,
        expanded,
        lambda at, key: origin.place(at, key=key),
        traps=traps_of(node, _READ_AS_WRITTEN),
        partial=partial,
    )
    reading.problems += mistakes.problems
    if model is None and not partial:
        salvaged = without_mistakes(ModelConfig, expanded, mistakes)
        if salvaged is not None:
            reading.salvaged[str(path)] = (salvaged, origin)
    return (reading.memory.parsed[str(path)][0], model, origin) if model is not None else None


def traps_of(node: Node, allowed: frozenset[KeyPath] = frozenset()) -> dict[KeyPath, str]:
    """Warnings about the scalars below `node` that YAML readers understand differently."""
    return {path: found.trap.words for path, found in node.traps() if found.trap and path not in allowed}


def load_servers(reading: LoadState) -> tuple[dict[str, tuple[ServerConfig, SourceOrigin]], set[str]]:
    """Every valid server by name, and all names that the file declares, valid or not."""
    path = reading.config_dir / "mcp" / "servers.yaml"
    last = reading.before.servers
    try:
        data = files.read(path)
        other = path.with_suffix(".yml")
        if data is None and other.is_file():
            path, data = other, files.read(other)
    except Unreadable as error:
        reading.report(path, str(error))
        return _servers_as_before(reading)
    node = reading.parse(path, data or b"")
    if isinstance(node, BrokenYaml):
        reading.problems += node.problems
        rest = (node.rest.entries or {}).get("servers") if node.rest is not None else None
        for name, (_, _, member) in ((rest[2].entries or {}) if rest is not None else {}).items():
            _server(reading, name, member, SourceOrigin(str(path), node.rest, ("servers", name)), partial=True)
        return _servers_as_before(reading)
    file = SourceOrigin(str(path), node)
    problems = _wrong_root(node, file)
    if problems:
        reading.problems += problems
        return _servers_as_before(reading)
    entry = (node.entries or {}).get("servers")
    result: dict[str, tuple[ServerConfig, SourceOrigin]] = {}
    members = (entry[2].entries or {}) if entry is not None else {}
    for name, (_, _, member) in members.items():
        origin = SourceOrigin(str(path), node, ("servers", name))
        server = _server(reading, name, member, origin)
        if server is None and name in last and not _misses(reading, member):
            server, origin = last[name]
        if server is not None:
            vault.learn(value.strip() for value in server.secrets())
            result[name] = (server, origin)
            reading.origins["server", name] = origin
    reading.memory.servers = result
    return result, set(members)


def _servers_as_before(reading: LoadState) -> tuple[dict[str, tuple[ServerConfig, SourceOrigin]], set[str]]:
    reading.memory.servers = dict(reading.before.servers)
    for name, (_, origin) in reading.memory.servers.items():
        reading.origins["server", name] = origin
    return reading.memory.servers, set(reading.memory.servers)


def _wrong_root(node: Node, file: SourceOrigin) -> list[Problem]:
    if node.value is None:
        return []
    if node.entries is None:
        return [Problem(*file.place(), "expected `servers:` with a mapping of names to servers")]
    problems = [
        Problem(
            *file.place((key,), key=True),
            f'unknown key "{key[:80]}"{did_you_mean(key, ["servers"]) or _beside_servers(key)}',
        )
        for key in node.entries
        if key != "servers"
    ]
    servers = node.entries.get("servers")
    if servers is not None and servers[2].value is not None and servers[2].entries is None:
        dashes = "; remove the dashes: each has its name as its key" if servers[2].items is not None else ""
        message = f"servers: expected a mapping of names to servers (NAME: {{…}}){dashes}"
        problems.append(Problem(*file.place(("servers",)), message))
    return problems


def _beside_servers(key: str) -> str:
    if key == "inputs":  # of VS Code
        return ": there are no prompts for values: write ${NAME} instead, and NAME=… in .env"
    return ": each server belongs below `servers:`, indented"


def _misses(reading: LoadState, node: Node) -> bool:
    return bool(expand_all(node.value, reading.environment.variables, _is_owners_text)[1])


def _server(
    reading: LoadState, name: str, node: Node, origin: SourceOrigin, *, partial: bool = False
) -> ServerConfig | None:
    from openai_proxy.config.servers import SERVER_NAME, ServerConfig

    if not SERVER_NAME.match(name):
        message = f'"{name[:60]}" cannot be used as a server name: use letters, digits, - and _, at most 32'
        reading.problems.append(Problem(*origin.place(key=True), message))
        return None
    if name in ServerConfig.model_fields and node.entries is None and node.value is not None:
        message = f"`{name}` is a setting of a server: its name is missing above it (servers: {{NAME: {{{name}: …}}}})"
        reading.problems.append(Problem(*origin.place(key=True), message))
        return None
    expanded, complete = _expanded(reading, node, origin, f"the server {name}")
    if not complete:
        return None
    if isinstance(expanded, dict):
        raw_texts(expanded, node)
        if "name" in expanded:
            problem = Problem(*origin.place(("name",), key=True), 'unknown key "name" (its name is its key)')
            reading.problems.append(problem)
            return None
        expanded["name"] = name
    server, mistakes = validate(
        ServerConfig, expanded, lambda at, key: origin.place(at, key=key), traps=traps_of(node), partial=partial
    )
    reading.problems += mistakes.problems
    return server


def raw_texts(data: dict[str, object], node: Node) -> None:
    """Turn numbers in args, env and headers into the text that was written (`1.10`, not `1.1`)."""
    for key in ("args", "env", "headers"):
        entry = (node.entries or {}).get(key)
        value = data.get(key)
        if entry is None:
            continue
        if isinstance(value, dict):
            for name, (_, _, member) in (entry[2].entries or {}).items():
                if member.raw is not None and member.value is not None:
                    value[name] = member.raw
        elif isinstance(value, list):
            for index, member in enumerate(entry[2].items or ()):
                if member.raw is not None and member.value is not None:
                    value[index] = member.raw


def load_skills(reading: LoadState, models: dict[str, tuple[ModelConfig, SourceOrigin]]) -> tuple[SkillFile, ...]:
    """Every valid skill: global ones first, then those of models, each group sorted by id."""
    root = reading.config_dir / "skills"
    places: list[SkillPlace] = []
    try:
        places = list(files.skill_places(root))
    except Unreadable as error:
        reading.report(root, str(error))
        reading.memory.skills = dict(reading.before.skills)
        return _ordered(skill for _, skill in reading.memory.skills.values())
    result: dict[tuple[str | None, str], tuple[SkillFile, Path]] = {}
    for place in places:
        if place.file.name.lower() == "skill.md" and place.folder is None and place.owner not in (None, *models):
            reading.report(place.file, "rename this file to SKILL.md: a folder with that file in it is a skill")
            continue
        if not is_text(f"{place.owner}/{place.id}"):
            reading.report(place.file, "the name of this file is not UTF-8: rename it")
            continue
        skill = _skill(reading, place)
        if skill is None:
            continue
        key = (place.owner, place.id)
        if key in result:
            other = result[key][1]
            reading.report(place.file, f'duplicate skill "{place.id}": {other} already has that name; rename one')
            continue
        result[key] = (skill, place.file)
        name = f"{place.owner}/{place.id}" if place.owner else place.id
        reading.origins["skill", name] = SourceOrigin(str(place.file))
    _ownerless(reading, result.values(), models)
    return _ordered(skill for skill, _ in result.values())


def _ordered(skills: Iterable[SkillFile]) -> tuple[SkillFile, ...]:
    return tuple(sorted(skills, key=lambda skill: (skill.model or "", skill.id)))


def _skill(reading: LoadState, place: SkillPlace) -> SkillFile | None:
    from openai_proxy.config.skills import SkillFile, read_skill

    name = str(place.file)
    last = reading.before.skills.get(name)
    kept = last[1] if last is not None else None
    try:
        data = files.read(place.file)
    except Unreadable as error:
        reading.report(place.file, str(error))
        data = b""
        skill = kept
    else:
        if data is None:
            return None
        if data and last is not None and last[0] == files.digest_of(data):  # an empty file is never valid
            skill = kept
        else:
            read = read_skill(data, name, place.id, folder=place.folder, model=place.owner)
            if isinstance(read, SkillFile):
                skill = read
            else:
                reading.problems += read
                reading.broken_skills.add(place.id)
                data, skill = b"", kept  # without its digest it is reported again at the next load
    digest = reading.note(place.file, data)
    if skill is not None:
        reading.memory.skills[name] = (digest, skill)
    return skill


def _ownerless(
    reading: LoadState, found: Iterable[tuple[SkillFile, Path]], models: Mapping[str, tuple[ModelConfig, SourceOrigin]]
) -> None:
    """Skills in a folder that belongs to no model."""
    reported: set[str] = set()
    for skill, path in found:
        if skill.model is None or skill.model in models or skill.model in reported:
            continue
        reported.add(skill.model)
        near = did_you_mean(skill.model, models)
        reading.report(path, f'this folder belongs to the model "{skill.model}", which does not exist{near}')


def load_python(reading: LoadState, directory: Path) -> tuple[PythonFile, ...]:
    """The Python files directly in `directory`."""
    try:
        paths = files.python_files(directory)
    except Unreadable as error:
        reading.report(directory, str(error))
        result = [file for file in reading.before.python.values() if file.path.parent == directory]
    else:
        read = (_python(reading, path) for path in paths)
        result = [file for file in read if file is not None]
    for file in result:
        reading.memory.python[str(file.path)] = file
        reading.origins["tool", file.path.name] = SourceOrigin(str(file.path))
    return tuple(result)


def _python(reading: LoadState, path: Path) -> PythonFile | None:
    try:
        data = files.read(path)
    except Unreadable as error:
        reading.report(path, str(error))
        return reading.before.python.get(str(path))
    return None if data is None else PythonFile(path, reading.note(path, data), data)
