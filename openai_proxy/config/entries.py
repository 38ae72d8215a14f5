"""The files of conf/ beside proxy.yaml, each for itself: models, MCP servers, skills, Python files."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from openai_proxy.config import files
from openai_proxy.config.files import PythonFile, SkillPlace, Unreadable
from openai_proxy.config.interpolate import expand_all
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.problems import Problem, did_you_mean
from openai_proxy.config.reading import Reading
from openai_proxy.config.servers import SERVER_NAME, ServerConfig
from openai_proxy.config.skills import SkillFile, read_skill
from openai_proxy.config.sources import Path as KeyPath
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.validate import validate, without_mistakes
from openai_proxy.config.yaml_text import BrokenYaml, Node
from openai_proxy.secrets import vault

_OWNERS_TEXT = frozenset({("system_prompt",), ("description",), ("tools",)})


def _is_owners_text(path: KeyPath) -> bool:
    """True for what is no setting but text, in which nothing is expanded."""
    return path in _OWNERS_TEXT or (path[0] == "mcp_servers" and path[-1] == "describe")


_READ_AS_WRITTEN = frozenset({("tool_status",)})  # `off` is one of its words, and YAML 1.2 reads it as one


def load_models(reading: Reading, directory: Path) -> dict[str, tuple[ModelConfig, SourceOrigin]]:
    """Every sound model by name, with where it stands."""
    try:
        for path in files.yaml_files(directory):
            result = _model(reading, path)
            if result is not None:
                reading.memory.models[str(path)] = result
    except Unreadable as error:
        reading.tell(directory, str(error))
        reading.memory.models = dict(reading.before.models)
    found = [(file, model, origin) for file, (_, model, origin) in reading.memory.models.items()]
    # A name that stands in two files stays with the one that had it, else goes to the first.
    had = {entry[1].name: file for file, entry in reading.before.models.items() if file in reading.before.owners}
    owner: dict[str, tuple[str, ModelConfig, SourceOrigin]] = {}
    for entry in found:
        name = entry[1].name
        if name not in owner or had.get(name) == entry[0]:
            owner[name] = entry
    for file, model, origin in found:
        if owner[model.name][0] != file:
            first = owner[model.name][2].place(("name",))
            message = f'duplicate model "{model.name}": {first[0]}:{first[1]} has that name already; rename one'
            reading.problems.append(Problem(*origin.place(("name",)), message))
    reading.memory.owners = {entry[0] for entry in owner.values()}
    return {name: (model, origin) for name, (_, model, origin) in owner.items()}


def _model(reading: Reading, path: Path) -> tuple[str, ModelConfig, SourceOrigin] | None:
    """One model file; in its last good form if it is broken; None if there is nothing to serve."""
    last = reading.before.models.get(str(path))
    try:
        data = files.read(path)
    except Unreadable as error:
        reading.tell(path, str(error))
        return last
    if data is None:
        return None  # it went away since the directory was listed
    node = reading.parse(path, data)
    if isinstance(node, BrokenYaml):
        reading.problems += node.problems
        if node.rest is not None and node.rest.entries:
            _validated(reading, path, node.rest, partial=True)
        return last
    digest = reading.memory.parsed[str(path)][0]
    if last is not None and last[0] == digest and reading.same_variables:
        return last
    if node.value is None:
        reading.tell(path, "the file is empty: a model needs at least a `name`")
        return last
    return _validated(reading, path, node) or (None if _misses(reading, node) else last)


def _validated(
    reading: Reading, path: Path, node: Node, *, partial: bool = False
) -> tuple[str, ModelConfig, SourceOrigin] | None:
    """The model in `node`, if it is sound; what is wrong is told. `partial`: it is what is left of a broken file."""
    origin = SourceOrigin(str(path), node)
    expanded, missing = expand_all(node.value, reading.environment.variables, _is_owners_text)
    for where, variable in missing:
        message = f"the environment variable {variable} is not set, so this model is left out"
        reading.problems.append(Problem(*origin.place(where), message))
    if missing:
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
    """What is to be said of the scalars below `node` that are read in two ways."""
    return {path: found.trap.words for path, found in node.traps() if found.trap and path not in allowed}


def load_servers(reading: Reading) -> tuple[dict[str, tuple[ServerConfig, SourceOrigin]], set[str]]:
    """Every sound server by name, and all names the file declares, sound or not."""
    path = reading.config_dir / "mcp" / "servers.yaml"
    last = reading.before.servers
    try:
        data = files.read(path)
        other = path.with_suffix(".yml")
        if data is None and other.is_file():
            path, data = other, files.read(other)
    except Unreadable as error:
        reading.tell(path, str(error))
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


def _servers_as_before(reading: Reading) -> tuple[dict[str, tuple[ServerConfig, SourceOrigin]], set[str]]:
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
            f'unknown key "{key[:80]}"{did_you_mean(key, ["servers"]) or " (expected: servers)"}',
        )
        for key in node.entries
        if key != "servers"
    ]
    servers = node.entries.get("servers")
    if servers is not None and servers[2].value is not None and servers[2].entries is None:
        problems.append(Problem(*file.place(("servers",)), "servers: expected a mapping of names to servers"))
    return problems


def _misses(reading: Reading, node: Node) -> bool:
    return bool(expand_all(node.value, reading.environment.variables, _is_owners_text)[1])


def _server(
    reading: Reading, name: str, node: Node, origin: SourceOrigin, *, partial: bool = False
) -> ServerConfig | None:
    if not SERVER_NAME.match(name):
        message = f'"{name[:60]}" cannot be used as a server name: use letters, digits, - and _, at most 32'
        reading.problems.append(Problem(*origin.place(key=True), message))
        return None
    expanded, missing = expand_all(node.value, reading.environment.variables, _is_owners_text)
    for where, variable in missing:
        message = f"the environment variable {variable} is not set, so the server {name} is left out"
        reading.problems.append(Problem(*origin.place(where), message))
    if missing:
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
    """Numbers in args, env and headers become the text that was written (`1.10`, not `1.1`)."""
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


def load_skills(reading: Reading, models: dict[str, tuple[ModelConfig, SourceOrigin]]) -> tuple[SkillFile, ...]:
    """Every sound skill: global ones first, then those of models; each group in order of its ids."""
    root = reading.config_dir / "skills"
    places: list[SkillPlace] = []
    try:
        places = list(files.skill_places(root))
    except Unreadable as error:
        reading.tell(root, str(error))
        reading.memory.skills = dict(reading.before.skills)
        return _ordered(skill for _, skill in reading.memory.skills.values())
    result: dict[tuple[str | None, str], tuple[SkillFile, Path]] = {}
    for place in places:
        if place.file.name.lower() == "skill.md" and place.folder is None and place.owner not in (None, *models):
            reading.tell(place.file, "rename this file to SKILL.md: a folder with that file in it is a skill")
            continue
        if not _is_text(f"{place.owner}/{place.id}"):
            reading.tell(place.file, "the name of this file is not UTF-8: rename it")
            continue
        skill = _skill(reading, place)
        if skill is None:
            continue
        key = (place.owner, place.id)
        if key in result:
            other = result[key][1]
            reading.tell(place.file, f'duplicate skill "{place.id}": {other} has that name already; rename one')
            continue
        result[key] = (skill, place.file)
        name = f"{place.owner}/{place.id}" if place.owner else place.id
        reading.origins["skill", name] = SourceOrigin(str(place.file))
    _ownerless(reading, result.values(), models)
    return _ordered(skill for skill, _ in result.values())


def _is_text(name: str) -> bool:
    """False for a name with bytes that are not UTF-8, which no request could carry."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ordered(skills: Iterable[SkillFile]) -> tuple[SkillFile, ...]:
    return tuple(sorted(skills, key=lambda skill: (skill.model or "", skill.id)))


def _skill(reading: Reading, place: SkillPlace) -> SkillFile | None:
    name = str(place.file)
    last = reading.before.skills.get(name)
    kept = last[1] if last is not None else None
    try:
        data = files.read(place.file)
    except Unreadable as error:
        reading.tell(place.file, str(error))
        data = b""
        skill = kept
    else:
        if data is None:
            return None
        if data and last is not None and last[0] == files.digest_of(data):  # an empty file is never a sound one
            skill = kept
        else:
            read = read_skill(data, name, place.id, folder=place.folder, model=place.owner)
            if isinstance(read, SkillFile):
                skill = read
            else:
                reading.problems += read
                reading.broken_skills.add(place.id)
                data, skill = b"", kept  # no digest of it is kept: it is told again at the next load
    digest = reading.note(place.file, data)
    if skill is not None:
        reading.memory.skills[name] = (digest, skill)
    return skill


def _ownerless(
    reading: Reading, found: Iterable[tuple[SkillFile, Path]], models: Mapping[str, tuple[ModelConfig, SourceOrigin]]
) -> None:
    """Skills in a folder that is no model's."""
    told: set[str] = set()
    for skill, path in found:
        if skill.model is None or skill.model in models or skill.model in told:
            continue
        told.add(skill.model)
        near = did_you_mean(skill.model, models)
        reading.tell(path, f'this folder belongs to the model "{skill.model}", and there is none{near}')


def load_python(reading: Reading, directory: Path) -> tuple[PythonFile, ...]:
    """The Python files right in `directory`."""
    try:
        paths = files.python_files(directory)
    except Unreadable as error:
        reading.tell(directory, str(error))
        result = [file for file in reading.before.python.values() if file.path.parent == directory]
    else:
        read = (_python(reading, path) for path in paths)
        result = [file for file in read if file is not None]
    for file in result:
        reading.memory.python[str(file.path)] = file
        reading.origins["tool", file.path.name] = SourceOrigin(str(file.path))
    return tuple(result)


def _python(reading: Reading, path: Path) -> PythonFile | None:
    try:
        data = files.read(path)
    except Unreadable as error:
        reading.tell(path, str(error))
        return reading.before.python.get(str(path))
    return None if data is None else PythonFile(path, reading.note(path, data), data)
