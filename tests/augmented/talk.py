"""Talking to augmented models over raw sockets: scripts for both modes, questions, and answers read by the grammar."""

import json
from typing import Any

from tests.agent import support
from tests.agent.grammar import Seen, check
from tests.harness.daemon import Daemon
from tests.harness.plays import LAST, SSE_HEAD, chunk, plain
from tests.harness.scripts import Play, Rounds
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer, Wire

Call = tuple[str, str, str]
"""id, name, arguments"""

CHAT = "/v1/chat/completions"
CLIENT_TOOL = support.CLIENT_TOOL
MODES = [True, False]
MODE_IDS = ["stream", "json"]


def sse(events: bytes) -> bytes:
    """`events` as a whole streamed answer on the wire."""
    return SSE_HEAD + chunk(events) + LAST


def says(text: str, *, stream: bool) -> bytes:
    """An answer of text."""
    return sse(support.says(text)) if stream else plain(support.completion({"content": text}))


def asks(*calls: Call, stream: bool, text: str = "") -> bytes:
    """An answer of calls, perhaps after some text."""
    if stream:
        return sse(support.asks(*calls, text=text))
    return plain(support.whole_calls(*calls, text=text or None))


def conversation(upstream: Upstream, *rounds: str | list[Call] | tuple[str, list[Call]], stream: bool) -> Rounds:
    """A script: a text is an answer with text, a list an answer with calls, a pair has both."""
    answers = []
    for one in rounds:
        if isinstance(one, str):
            answers.append(says(one, stream=stream))
        elif isinstance(one, list):
            answers.append(asks(*one, stream=stream))
        else:
            answers.append(asks(*one[1], text=one[0], stream=stream))
    return upstream.rounds(*answers)


def request(wire: Wire, model: str, play: Play | None, *, stream: bool, path: str = CHAT, **members: Any) -> Wire:
    """Send a chat request with the body `members`, `headers` and `key`."""
    headers = [*members.pop("headers", ()), *([("X-Play", play.model)] if play else [])]
    key = members.pop("key", None)
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **members}
    body |= {"stream": True} if stream else {}
    return wire.request("POST", path, body=json.dumps(body).encode(), headers=headers, key=key)


def ask(daemon: Daemon, model: str, play: Play | None, *, stream: bool, **members: Any) -> Answer:
    """One request on its own connection, and its whole answer."""
    with daemon.wire() as wire:
        return request(wire, model, play, stream=stream, **members).answer()


def checked(answer: Answer, model: str, *, stream: bool, usage_asked: bool = False) -> Seen:
    """What the client got, checked by the grammar of its mode."""
    assert answer.status == 200, (answer.status, answer.body[:500])
    assert answer.complete
    assert answer.header("x-request-id")
    if stream:
        assert (answer.header("content-type") or "").startswith("text/event-stream")
        return check(answer.body, model=model, usage_asked=usage_asked)
    assert (answer.header("content-type") or "").startswith("application/json")
    completion = answer.json()
    assert completion["object"] == "chat.completion"
    assert completion["model"] == model
    (choice,) = completion["choices"]
    message = choice["message"]
    assert message["role"] == "assistant"
    return Seen(
        content=message.get("content") or "",
        reasoning=message.get("reasoning_content") or "",
        calls=message.get("tool_calls") or [],
        finish=choice["finish_reason"],
        usage=completion.get("usage"),
        done=True,
    )


def chat(
    daemon: Daemon, model: str, play: Play | None, *, stream: bool, usage_asked: bool = False, **members: Any
) -> Seen:
    """One request for augmented/`model`, and what the client got."""
    name = f"augmented/{model}"
    if usage_asked and stream:
        members["stream_options"] = {"include_usage": True}
    answer = ask(daemon, name, play, stream=stream, **members)
    return checked(answer, name, stream=stream, usage_asked=usage_asked)


def roles(body: dict[str, Any]) -> list[str]:
    """The roles of the messages of a request body."""
    return [message["role"] for message in body["messages"]]


def names(body: dict[str, Any]) -> list[str]:
    """The names of the tools in a request body."""
    return [tool["function"]["name"] for tool in body.get("tools", [])]
