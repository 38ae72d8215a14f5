"""Inference functions of a user, for tests."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any


def plain(messages: list[Any]) -> str:
    print("a library prints to stdout")  # must not reach the daemon's pipe
    return "you said " + messages[-1]["content"]


def words(messages: list[Any], temperature: float = 1.0, **parameters: Any) -> Iterator[str]:
    yield from ("one ", "two ", "three ", f"{temperature} ", f"{sorted(parameters)}")


async def slowly(messages: list[Any]) -> AsyncIterator[str]:
    for word in ("a", "b", "c"):
        await asyncio.sleep(0)
        yield word


async def later(messages: list[Any]) -> str:
    await asyncio.sleep(0)
    return "later"


def endless(messages: list[Any]) -> Iterator[str]:
    """Never ends; leaves a file when it is stopped, so that a test can see when."""
    text = messages[-1]["content"]
    if not text.startswith("/"):
        yield f"short {text}"
        return
    try:
        while True:
            yield "x"
            time.sleep(0.005)
    finally:
        Path(text).write_text("stopped")


def stuck(messages: list[Any]) -> Iterator[str]:
    yield "now "
    if messages[-1]["content"] == "hang":
        time.sleep(600)


def crash(messages: list[Any]) -> Iterator[str]:
    if messages[-1]["content"] == "at once":
        os._exit(3)
    yield "some "
    if messages[-1]["content"] == "later":
        os._exit(3)
    yield "more"


def fails(messages: list[Any]) -> Iterator[str]:
    if messages[-1]["content"] == "later":
        yield "some "
    raise ValueError("secret details")


def calls(messages: list[Any], tools: list[Any]) -> Iterator[Any]:
    if messages[-1]["role"] == "tool":
        yield "It is " + messages[-1]["content"]
    else:
        yield "Let me see. <tool"
        yield '_call>\n{"name": "' + tools[0]["function"]["name"] + '", "arguments": {"x": 1}}\n</tool'
        yield "_call>"


def delta(messages: list[Any]) -> Iterator[Any]:
    yield {"reasoning_content": "hm"}
    yield {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}


not_a_function = 5
