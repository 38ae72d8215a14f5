import asyncio
import re

import pytest

from openai_proxy.tools.builtin import BUILTIN, get_current_time
from openai_proxy.tools.handler import ToolFailure, handler_tool
from openai_proxy.tools.toolbox import Toolbox
from openai_proxy.tools.workers import Workers


@pytest.fixture
def toolbox():
    workers = Workers()
    return Toolbox([handler_tool(handler, workers) for handler in BUILTIN.values()])


def test_the_time_is_iso_with_weekday_and_zone():
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0[12]:00 \([A-Z][a-z]+day, Europe/Berlin\)", get_current_time("Europe/Berlin")
    )
    assert re.match(r"\d{4}-\d\d-\d\dT", get_current_time())
    assert get_current_time("") != ""


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin"), ("new york", "America/New_York")],
)
def test_a_misspelt_zone_is_answered_with_the_right_one(wrong, right):
    with pytest.raises(ToolFailure, match=right):
        get_current_time(wrong)


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/localtime", "Europe", "a\x00b", "\ud800", "x" * 10_000])
def test_an_unknown_zone_is_an_error_for_the_model(zone):
    with pytest.raises(ToolFailure):
        get_current_time(zone)


async def test_both_tools_answer_through_the_toolbox(toolbox):
    assert (await toolbox.run("calculator", '{"expression": "6*7"}')).text == "42"
    assert "UTC" in (await toolbox.run("get_current_time", {"timezone": "UTC"})).text
    assert (await toolbox.run("calculator", {"expression": "9**9**9"})).is_error
    assert (await toolbox.run("calculator", {"expression": "9" * 100_000})).is_error
    assert (await toolbox.run("calculator", {})).is_error


async def test_the_event_loop_keeps_running_while_hard_expressions_are_refused(toolbox):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    for expression in ("9**9**9", "(" * 50_000, "factorial(999999)", "[1]*10**10"):
        assert (await toolbox.run("calculator", {"expression": expression})).is_error
    ticking.cancel()
    assert ticks > 4
