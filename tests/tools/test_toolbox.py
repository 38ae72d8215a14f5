import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.builtin import BUILTIN
from openai_proxy.tools.toolbox import Toolbox, Toolset, build_toolset, normalised, offered, parse_arguments
from openai_proxy.tools.workers import Workers


@dataclass
class Fake:
    name: str
    result: Any = "fine"
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def definition(self):
        return {"type": "function", "function": {"name": self.name, "parameters": self.parameters}}

    async def call(self, arguments, context):
        self.calls.append(arguments)
        if isinstance(self.result, BaseException):
            raise self.result
        if self.result is None:
            await asyncio.Event().wait()
        return ToolResult(self.result)


def test_definitions_are_sorted_by_name():
    names = [d["function"]["name"] for d in Toolbox([Fake("b"), Fake("c"), Fake("a")]).definitions()]
    assert names == ["a", "b", "c"]


def test_a_tool_is_found_only_by_its_whole_name():
    box = Toolbox([Fake("mcp_a_b"), Fake("mcp_a")])
    assert box.get("mcp_a_b").name == "mcp_a_b"
    assert box.get("mcp_a_b_c") is None
    assert "mcp_a" in box
    assert len(box) == 2


def test_of_two_tools_with_the_same_name_ours_stays():
    ours, theirs = Fake("calculator"), Fake("calculator")
    assert Toolset([ours], lambda: [theirs]).toolbox().get("calculator") is ours


def test_a_request_keeps_its_view_while_a_server_changes_its_tools():
    live = [Fake("x")]
    tools = Toolset([Fake("ours")], lambda: list(live))
    before = tools.toolbox()
    assert tools.toolbox() is before
    live[:] = [Fake("y")]
    assert before.names() == ("ours", "x")
    assert tools.toolbox().names() == ("ours", "y")


def test_an_equal_tool_of_a_replaced_server_is_the_new_one():
    tools = Toolset([], lambda: [Fake("x")])
    first, second = tools.toolbox(), tools.toolbox()
    assert second.get("x") is not first.get("x")
    assert second.definitions()[0] is first.definitions()[0]


async def test_the_provider_gets_a_simplified_schema_and_the_original_is_checked():
    schema = {"anyOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"required": ["b"]}]}
    box = Toolbox([Fake("t", parameters=schema)])
    assert "anyOf" not in box.definitions()[0]["function"]["parameters"]
    assert (await box.run("t", "{}")).is_error
    assert not (await box.run("t", '{"b": 1}')).is_error


async def test_a_call_takes_and_returns_text():
    tool = Fake("t", parameters={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    assert await Toolbox([tool]).run("t", '{"n": 3}') == ToolResult("fine")
    assert tool.calls == [{"n": 3}]


@pytest.mark.parametrize(
    "arguments", ['{"n": ', "[1]", '"x"', "{'n': 3}", "{}", '{"n": "3"}', "[" * 100_000, '{"n": NaN}']
)
async def test_invalid_arguments_are_reported_and_nothing_runs(arguments):
    tool = Fake("t", parameters={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    result = await Toolbox([tool]).run("t", arguments)
    assert result.is_error
    assert tool.calls == []


async def test_an_unknown_tool_is_reported_with_the_nearest_name():
    result = await Toolbox([Fake("calculator")]).run("calculater", "{}")
    assert result.is_error
    assert "Did you mean calculator?" in result.text


async def test_a_tool_that_hangs_or_returns_garbage_is_an_error():
    box = Toolbox([Fake("hang", None), Fake("bad", ValueError("at /etc/x"))])
    assert "did not answer within 0.05" in (await box.run("hang", "", timeout=0.05)).text
    result = await box.run("bad", "")
    assert result.is_error
    assert "/etc" not in result.text


async def test_a_long_result_is_bounded():
    assert len((await Toolbox([Fake("t", "x" * 1_000_000)]).run("t", "")).text) <= 100_000


@pytest.mark.parametrize("text", ["", "  ", "null", None, "{}"])
def test_empty_arguments_in_every_form(text):
    assert parse_arguments(text) == {}


def test_a_model_file_names_handlers_or_defines_them():
    own = {"type": "function", "function": {"name": "get_current_time", "description": "mine"}}
    problems: list[tuple[int, str]] = []
    tools = offered(["calculator", own], BUILTIN, Workers(), report=lambda i, m: problems.append((i, m)))
    assert problems == []
    assert [t.name for t in tools] == ["calculator", "get_current_time"]
    assert tools[1].definition["function"]["description"] == "mine"


def test_mistakes_in_a_model_file_are_reported_with_their_place():
    problems: dict[int, str] = {}
    tools = offered(
        ["calculater", "calculator", "calculator", {"name": "a b"}, {"function": {"name": "x", "parameters": 3}}, {}],
        BUILTIN,
        Workers(),
        report=problems.__setitem__,
    )
    assert [t.name for t in tools] == ["calculator"]
    assert '(did you mean "calculator"?)' in problems[0]
    assert "twice" in problems[2]
    assert set(problems) == {0, 2, 3, 4, 5}


def test_a_bare_definition_is_wrapped():
    assert normalised({"name": "x", "input_schema": {"type": "object"}}) == {
        "type": "function",
        "function": {"name": "x", "parameters": {"type": "object"}},
    }


def test_the_gateway_has_all_handlers_and_the_tools_of_all_servers():
    assert build_toolset(BUILTIN, Workers(), lambda: [Fake("mcp_x_y")]).toolbox().names() == (
        "calculator",
        "get_current_time",
        "mcp_x_y",
    )


OPTIONAL = {
    "type": "object",
    "properties": {
        "room": {"type": "string"},
        "level": {"type": "integer"},
        "mode": {"$ref": "#/$defs/mode"},
        "note": {"type": ["string", "null"]},
        "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "any": {},
    },
    "required": ["room"],
    "$defs": {"mode": {"enum": ["a", "b"]}},
}


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ({"room": "x", "level": None}, {"room": "x"}),
        ({"room": "x", "level": None, "mode": None}, {"room": "x"}),
        ({"room": "x", "mode": None, "note": None, "maybe": None, "any": None}, None),
        ({"room": "x", "note": None}, {"room": "x", "note": None}),
        ({"room": "x", "unknown": None}, {"room": "x", "unknown": None}),
    ],
)
async def test_null_for_an_optional_property_counts_as_missing(given, called):
    tool = Fake("t", parameters=OPTIONAL)
    result = await Toolbox([tool]).run("t", given)
    assert not result.is_error, result.text
    assert tool.calls == [called or {"room": "x", "note": None, "maybe": None, "any": None}]


@pytest.mark.parametrize(
    "given", [{"room": None}, {"room": None, "level": None}, {"room": "x", "level": None, "mode": "c"}, {"level": None}]
)
async def test_null_is_accepted_nowhere_else(given):
    tool = Fake("t", parameters=OPTIONAL)
    result = await Toolbox([tool]).run("t", given)
    assert result.is_error
    assert "level" not in result.text, "an optional property set to null must not be reported"
    assert tool.calls == []


class Person:
    """Answers yes or no and remembers the questions."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []

    def given(self, tool, arguments):
        self.asked.append((tool, arguments))
        return self.answer


@pytest.mark.parametrize("glob", ["unl*", "unlock", "*"])
async def test_a_tool_that_needs_consent_runs_only_with_it(glob):
    tool = Fake("unlock", parameters={"type": "object", "required": ["door"]})
    box = Toolbox([tool, Fake("other")], confirm=[glob])
    refused = await box.run("unlock", '{"door": 1}')
    assert refused.is_error
    assert "nobody can be asked" in refused.text
    person = Person(answer=False)
    asked = await box.run("unlock", '{"door": 1}', CallContext(consent=person))
    assert asked.is_error
    assert "ask whether you may" in asked.text
    assert person.asked == [("unlock", {"door": 1})]
    assert tool.calls == []
    person = Person(answer=True)
    assert not (await box.run("unlock", '{"door": 1}', CallContext(consent=person))).is_error
    assert tool.calls == [{"door": 1}]
    await box.run("unlock", "{}", CallContext(consent=person))
    assert len(person.asked) == 1, "no consent must be requested for a call with invalid arguments"


async def test_tools_without_a_matching_glob_run_and_a_changed_list_keeps_the_rule():
    live = [Fake("mcp_a_lock")]
    tools = Toolset([Fake("other")], lambda: list(live), confirm=["*lock"])
    assert not (await tools.toolbox().run("other", "{}")).is_error
    assert (await tools.toolbox().run("mcp_a_lock", "{}")).is_error
    live.append(Fake("mcp_a_unlock"))
    assert (await tools.toolbox().run("mcp_a_unlock", "{}")).is_error
