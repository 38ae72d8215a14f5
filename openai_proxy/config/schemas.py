"""JSON Schemas of the files of conf/, generated from the models, for completion and validation in editors.

`python -m openai_proxy.config.schemas` writes schemas/*.json; a test fails if they are outdated.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from openai_proxy.config.connection import API_TYPE_ALIASES
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.config.servers import SERVER_NAME, TRANSPORT_ALIASES, ServersFile
from openai_proxy.config.skills import SkillYaml
from openai_proxy.config.tool_file import ToolsFile

DIRECTORY = Path(__file__).parent / "schemas"
KINDS: dict[str, type[BaseModel]] = {
    "proxy": ProxyConfig,
    "model": ModelConfig,
    "servers": ServersFile,
    "skill": SkillYaml,
    "tools": ToolsFile,
}
_VARIABLE = {"type": "string", "pattern": r"\$\{|^env:"}


def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one file kind of KINDS, including every shorthand and alias."""
    model = KINDS[kind]
    document = _words_of_json_schema(models_json_schema([(model, "validation")])[1])
    root = document["$defs"].pop(model.__name__)
    definitions = document["$defs"]
    _aliases({**definitions, model.__name__: root})
    for definition in (root, *definitions.values()):
        properties = definition.get("properties", {})
        for name, member in properties.items():
            properties[name] = _from_environment(_shorthand(member))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"openai_proxy: {kind}",
        **root,
        **({"$defs": definitions} if definitions else {}),
    }


def _aliases(definitions: dict[str, Any]) -> None:
    """Add what is accepted besides the normal form, and remove what only the program itself sets."""
    if connection := definitions.get("ConnectionConfig"):
        connection["properties"]["api_type"]["enum"] += list(API_TYPE_ALIASES)
    if server := definitions.get("ServerConfig"):
        server["properties"]["type"]["enum"] += list(TRANSPORT_ALIASES)
        del server["properties"]["name"]
    if file := definitions.get("ServersFile"):
        file["properties"]["servers"]["propertyNames"] = {"pattern": SERVER_NAME.pattern.replace(r"\Z", "$")}


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _words_of_json_schema(value: Any) -> Any:
    """Translate bounds behind a custom validator from pydantic's names, and drop titles, which only repeat names."""
    if isinstance(value, list):
        return [_words_of_json_schema(member) for member in value]
    if not isinstance(value, dict):
        return value
    return {
        _BOUNDS.get(key, key) if isinstance(member, int | float) else key: _words_of_json_schema(member)
        for key, member in value.items()
        if not (key == "title" and isinstance(member, str))
    }


def _shorthand(member: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in member and "additionalProperties" in member:  # described by hand: a list of names, or a mapping
        member = {key: value for key, value in member.items() if key not in ("type", "additionalProperties")}
    short = member.pop("x-shorthand", None)
    if short is None:
        return member
    forms = member.pop("anyOf", None) or [{"$ref": member.pop("$ref", None)}]
    return {**member, "anyOf": [*forms, short]}


def _from_environment(member: dict[str, Any]) -> dict[str, Any]:
    """Allow `${NAME}` or `env:NAME` in place of numbers, booleans and enumerated words."""
    kinds = [member, *member.get("anyOf", ())]
    scalar = any("enum" in kind or kind.get("type") in ("integer", "number", "boolean") for kind in kinds)
    if not scalar or any(kind.get("type") == "string" and "enum" not in kind for kind in kinds):
        return member
    documented: dict[str, Any] = {key: member[key] for key in ("description", "default") if key in member}
    form = {key: value for key, value in member.items() if key not in documented}
    forms = form["anyOf"] if list(form) == ["anyOf"] else [form]
    return {**documented, "anyOf": [*forms, _VARIABLE]}


def text(kind: str) -> str:
    """The schema as stored in the file."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


def write(directory: Path) -> None:
    """Write every schema into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (directory / f"{kind}.json").write_text(text(kind), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)
