"""OpenAPI documents as tools: names, places, references, and malicious documents."""

import json
from typing import Any

import pytest

from openai_proxy.config.tool_file import DeclaredTool, HttpAction, OpenApiSource
from openai_proxy.tools.declared.openapi import DocumentError, operations, parse_document
from openai_proxy.tools.declared.request import ToolRequest, make_request
from openai_proxy.tools.schema import definition_fault

PATHS: dict[str, Any] = {
    "/lights/{id}": {
        "parameters": [{"$ref": "#/components/parameters/Id"}],
        "get": {"operationId": "get light", "summary": "One light."},
        "put": {
            "operationId": "set-light",
            "parameters": [
                {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                {"name": "fade", "in": "query", "schema": {"type": "integer", "minimum": 0, "exclusiveMinimum": True}},
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Light"}}},
            },
        },
        "delete": {"requestBody": {"content": {"application/xml": {}}}},
    },
    "/all": {"get": {"parameters": [{"name": "tag", "in": "query", "schema": {"type": "array"}}]}},
}
COMPONENTS = {
    "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}},
    "schemas": {
        "Light": {
            "type": "object",
            "required": ["on", "made"],
            "properties": {
                "on": {"type": "boolean"},
                "colour": {"type": "string", "nullable": True, "enum": ["red"]},
                "made": {"type": "string", "readOnly": True},
                "group": {"$ref": "#/components/schemas/Group"},
            },
        },
        "Group": {"properties": {"parent": {"$ref": "#/components/schemas/Group"}, "name": {"type": "string"}}},
    },
}


def document(**more: Any) -> dict[str, Any]:
    return {
        "openapi": "3.0.3", "servers": [{"url": "http://hub.lan/api"}], "paths": PATHS, "components": COMPONENTS, **more
    }  # fmt: skip


def source(**more: Any) -> OpenApiSource:
    return OpenApiSource(**{"source": "api.json", "is_url": False, **more})


def tools(doc: dict[str, Any], **more: Any) -> dict[str, DeclaredTool]:
    found = operations(parse_document(json.dumps(doc).encode(), "api.json"), source(**more), "api.json")
    return {tool.name: tool for tool in found.tools}


def request(tool: DeclaredTool, **arguments: Any) -> ToolRequest:
    assert isinstance(tool.action, HttpAction)
    return make_request(tool.action, tool.parameters, arguments)


def test_an_operation_becomes_a_tool_with_everything_in_its_place() -> None:
    found = tools(document(), headers=(("Authorization", "Bearer owner"),))
    assert list(found) == ["get_light", "set-light", "get_all"]
    assert found["get_light"].description == "One light."
    put = found["set-light"]
    assert list(put.parameters["properties"]) == ["id", "X-Trace", "fade", "on", "colour", "group"]
    assert put.parameters["required"] == ["id", "on"]
    assert put.parameters["properties"]["colour"] == {"type": ["string", "null"], "enum": ["red", None]}
    assert put.parameters["properties"]["fade"] == {"type": "integer", "exclusiveMinimum": 0}
    assert definition_fault({"type": "function", "function": {"name": "x", "parameters": put.parameters}}) is None
    made = request(put, id="a/b", fade=3, on=True, **{"X-Trace": "t"})
    assert (made.method, made.url, made.private) == ("PUT", "http://hub.lan/api/lights/a%2Fb?fade=3", True)
    assert made.headers == {"Authorization": "Bearer owner", "X-Trace": "t", "Content-Type": "application/json"}
    assert json.loads(made.body or b"") == {"on": True}


def test_lists_in_a_query_repeat() -> None:
    assert request(tools(document())["get_all"], tag=["a", "b"]).url == "http://hub.lan/api/all?tag=a&tag=b"


def test_a_body_of_another_kind_is_left_out_and_reported() -> None:
    found = operations(document(), source(), "api.json")
    assert found.left_out == ("DELETE /lights/{id}: its body is application/xml, not JSON",)


@pytest.mark.parametrize(
    ("globs", "names"),
    [(("set*",), ["set-light"]), (("GET /lights/*",), ["get_light"]), (("nothing",), [])],
)
def test_operations_are_chosen_by_globs(globs: tuple[str, ...], names: list[str]) -> None:
    assert list(tools(document(), operations=globs)) == names


def test_a_cycle_ends() -> None:
    group = tools(document())["set-light"].parameters["properties"]["group"]
    assert group == {"properties": {"parent": {}, "name": {"type": "string"}}}


def test_an_exponential_schema_is_bounded() -> None:
    schemas: dict[str, Any] = {f"S{n}": {"properties": {c: {"$ref": f"#/components/schemas/S{n + 1}"} for c in "abcdefgh"}} for n in range(20)}  # fmt: skip  # noqa: E501
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    doc = document(paths={"/x": {"post": {"operationId": "x", "requestBody": body}}}, components={"schemas": schemas})
    found = operations(doc, source(), "api.json")
    assert len(json.dumps([tool.parameters for tool in found.tools])) < 200_000


def test_five_thousand_operations_are_too_many_without_a_choice() -> None:
    paths = {f"/p{n}": {"get": {"operationId": f"op{n}"}} for n in range(5000)}
    found = operations(document(paths=paths), source(), "api.json")
    assert len(found.tools) == 1000
    assert found.left_out == ("5000 operations match, but at most 1000 are allowed: choose with `operations`",)
    assert list(tools(document(paths=paths), operations=("op49*",))) == ["op49", *[f"op{n}" for n in range(490, 500)], *[f"op{n}" for n in range(4900, 5000)]]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("more", "own", "said"),
    [
        ({"servers": [{"url": "http://evil.example"}]}, {"is_url": True, "source": "https://a.example"}, "another"),
        ({"servers": []}, {}, "does not name its server"),
        ({"servers": [{"url": "http://x@evil/"}]}, {}, "does not name its server"),
        ({"openapi": "2.0"}, {}, "not an OpenAPI 3 document"),
        ({"paths": None}, {}, "has no paths"),
    ],
)  # fmt: skip
def test_documents_that_cannot_be_used(more: dict[str, Any], own: dict[str, Any], said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        tools(document(**more), **own)


def test_the_url_of_a_document_is_its_server() -> None:
    found = tools(document(servers=[{"url": "/v2"}]), is_url=True, source="https://good.example/doc/api.json")
    made = request(found["get_light"], id="1")
    assert (made.url, made.private) == ("https://good.example/v2/lights/1", False)


def test_yaml_is_read_and_garbage_is_reported() -> None:
    text = b"openapi: 3.1.0\nservers: [{url: 'http://h.lan'}]\npaths: {/a: {get: {operationId: a}}}\n"
    assert [tool.name for tool in operations(parse_document(text, "x"), source(), "x").tools] == ["a"]
    for broken in (b"{a: [", b"[1]", b"\xff\xfe", b"- " * 3000):
        with pytest.raises(DocumentError):
            parse_document(broken, "x")
