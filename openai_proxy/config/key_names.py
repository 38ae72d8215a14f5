"""Names for keys, so that logs need not use hashes: a key's variable, or its position in the file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath

from openai_proxy.config.snapshot import Snapshot
from openai_proxy.config.sources import Path
from openai_proxy.secrets import key_id


def names_of_keys(snapshot: Snapshot) -> dict[str, str]:
    """The `key_id` of a key -> its name, for every key of proxy.yaml and the environment.

    A group's only key has no name: the group's name is enough.
    """
    return {key_id(key): name for key, name in _names(snapshot)}


def _names(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    environment = snapshot.memory.environment
    variables: dict[str, str] = {}
    for name, value in (environment.variables if environment is not None else {}).items():
        variables.setdefault(value.strip(), name)
    for name, group in snapshot.proxy.groups.items():
        if len(group.api_keys) > 1:
            yield from _each(snapshot, group.api_keys, ("groups", name, "api_keys"), name, variables)
    for name, connection in snapshot.proxy.connections.items():
        yield from _each(snapshot, connection.api_keys, ("connections", name, "api_keys"), name, variables)
    yield from _each(snapshot, snapshot.proxy.admin_api_keys, ("admin_api_keys",), "admin_api_keys", variables)


def _each(
    snapshot: Snapshot, keys: Sequence[str], path: Path, owner: str, variables: Mapping[str, str]
) -> Iterable[tuple[str, str]]:
    for number, key in enumerate(keys):
        if key in variables:
            yield key, variables[key]
            continue
        which = f"key {number + 1} of {owner}" if len(keys) > 1 else f"the key of {owner}"
        file, line, _ = snapshot.place("proxy", None, (*path, number))
        yield key, f"{which} ({FilePath(file).name}:{line})"
