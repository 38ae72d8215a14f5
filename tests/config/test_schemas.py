"""The shipped JSON Schemas: current, and consistent with the models."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from openai_proxy.config import schemas
from openai_proxy.config.yaml_text import Node, parse
from tests.config.conftest import ConfigDirectory

STARTER = Path(schemas.__file__).parent / "starter"


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_the_shipped_schema_is_current(kind: str) -> None:
    shipped = (schemas.DIRECTORY / f"{kind}.json").read_text(encoding="utf-8")
    assert shipped == schemas.text(kind), "run: python -m openai_proxy.config.schemas"
    jsonschema.Draft202012Validator.check_schema(json.loads(shipped))


def content(text: str) -> Any:
    node = parse(text.encode(), "x")
    assert isinstance(node, Node)
    return node.value


CASES = [
    ("proxy", "routing: {a: b.c, d: [b.c, e.*], f: {targets: [b.c], policy: round_robin}}", True),
    ("proxy", "routing: {a: {target: b.c}}", False),
    ("proxy", "connections: {a: {api_type: open_ai, timeout: 5, api_key: '${K}'}}", True),
    ("proxy", "connections: {a: {timeout: {connect: 1, total: null}, params: {drop: 'a,b'}}}", True),
    ("proxy", "connections: {a: {max_retries: -1}}", False),
    ("proxy", "connections: {a: {api_tpye: openai}}", False),
    ("proxy", "port: ${PORT}", True),
    ("proxy", "port: eighty", False),
    ("proxy", "port: 70000", False),
    ("proxy", "cors: {origins: ['https://a.b']}", True),
    ("proxy", "groups: {a: {api_keys: [x], allowed_connections: 'a, b', limits: {requests_per_day: null}}}", True),
    ("proxy", "prices: {'gpt*': {input: 1, output: 2.5}}", True),
    ("proxy", "loggers: [{class: a.B, entry: {m: request.model}}]", True),
    ("model", "{name: x, mcp_servers: [a, b], tools: [a, {type: function, function: {name: b}}]}", True),
    ("model", "{name: x, mcp_servers: {a: {whitelist: ['*']}, b: null}}", True),
    ("model", "{name: x, tool_status: off}", True),
    ("model", "{name: x, tool_status: none}", False),
    ("model", "{description: x}", False),
    ("servers", "servers: {a: {type: http, url: 'http://h/mcp', headers: {X: 1}}}", True),
    ("servers", "servers: {a: {command: x, args: [1, y], env: {P: 80}}}", True),
    ("servers", "servers: {a: {command: x, arg: [1]}}", False),
    ("skill", "{name: x, description: y, content: z}", True),
    ("skill", "{name: x}", False),
    ("tools", "{name: x, parameters: {type: object}, http: {url: 'http://h/{a}', json: {a: '{a}'}, timeout: 5}}", True),
    ("tools", "[{name: x, command: [a, 1], stdin: y}, {openapi: a.json, operations: 'a*'}]", True),
    ("tools", "{name: x, http: {url: 'http://h/', verb: GET}}", False),
    ("tools", "{name: x}", False),
]


@pytest.mark.parametrize(("kind", "text", "good"), CASES, ids=[f"{kind}: {text}" for kind, text, _ in CASES])
def test_the_schemas_and_the_models_agree(kind: str, text: str, good: bool, config_directory: ConfigDirectory) -> None:
    validator = jsonschema.Draft202012Validator(schemas.schema(kind))
    assert validator.is_valid(content(text)) is good, list(validator.iter_errors(content(text)))
    node = parse(text.encode(), "x")
    assert isinstance(node, Node)
    data = json.loads(json.dumps(node.value).replace("${PORT}", "8000").replace("${K}", "k"))
    try:
        schemas.KINDS[kind].model_validate(data)
    except ValueError:
        assert not good
    else:
        assert good
