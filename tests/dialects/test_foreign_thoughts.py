"""Reasoning that only its own provider can read is not sent to another one in passed-through requests."""

import json
from itertools import permutations
from typing import Any

import pytest

from openai_proxy.dialects import foreign_thoughts
from openai_proxy.dialects.foreign_thoughts import hinted, without_foreign
from openai_proxy.dialects.packed_reasoning import pack
from tests.conftest import DaemonFactory
from tests.harness.plays import plain

PACKED = pack([{"type": "reasoning.encrypted", "format": "google-gemini-v1", "data": "sig"}])
HELLO = {"role": "user", "content": "Hi"}
SAID = {"type": "text", "text": "Hello"}
OWN = {"type": "thinking", "thinking": "hm", "signature": "claude-signed-it"}
FOREIGN = [
    {"type": "thinking", "thinking": "hm", "signature": PACKED},
    {"type": "thinking", "thinking": "hm", "signature": ""},
    {"type": "thinking", "thinking": "hm", "signature": None},
    {"type": "thinking", "thinking": "hm"},
    {"thinking": "hm", "type": "thinking"},
    {"type": "redacted_thinking", "data": PACKED},
]


def test_only_reasoning_of_another_provider_is_removed() -> None:
    content = [FOREIGN[0], OWN, SAID]
    asked = {"messages": [HELLO, {"role": "assistant", "content": content}, HELLO]}
    assert without_foreign(asked, "messages")["messages"] == [
        HELLO,
        {"role": "assistant", "content": [OWN, SAID]},
        HELLO,
    ]
    assert without_foreign({"messages": [HELLO, {"role": "assistant", "content": [OWN]}]}, "messages") == {}
    for odd in ({}, {"messages": 3}, {"messages": [3, {"content": [3, "x"]}]}, {"input": "text"}, {"input": [3]}):
        assert without_foreign(odd, "messages") == {}
        assert without_foreign(odd, "responses") == {}


def test_every_such_body_is_recognised_by_its_bytes() -> None:
    for block in FOREIGN:
        asked: dict[str, Any] = {"messages": [{"role": "assistant", "content": [block, SAID]}]}
        for separators in ((",", ":"), (", ", ": ")):
            assert hinted(json.dumps(asked, separators=separators).encode(), "messages")
        assert without_foreign(asked, "messages")


SEPARATORS = [(",", ":"), (", ", ": "), (",\n  ", " : ")]


def conversation(block: dict[str, Any], separators: tuple[str, str]) -> bytes:
    """A request with a signed block around `block`, and the words of one elsewhere."""
    used = {"type": "tool_use", "id": "t", "name": "sign", "input": {"signature": "def f()", "kind": "thinking"}}
    early = {"type": "thinking", "signature": "claude-signed-it", "thinking": "hm"}
    quoted = {"type": "text", "text": json.dumps({"type": "thinking", "thinking": ""})}
    turn = {"role": "assistant", "content": [OWN, block, early, quoted, used, OWN]}
    asked = {"thinking": {"type": "enabled", "budget_tokens": 9}, "messages": [HELLO, turn]}
    return json.dumps(asked, separators=separators).encode()


@pytest.mark.parametrize("separators", SEPARATORS)
def test_members_may_come_in_any_order(separators: tuple[str, str]) -> None:
    for thinking in ("", "hm", 'the "signature": \\', '"type":"thinking"', '{"a":"b"}, "","signature":"c"'):
        for order in permutations(OWN):
            signed = {name: {**OWN, "thinking": thinking}[name] for name in order}
            assert not hinted(conversation(signed, separators), "messages")
            assert hinted(conversation({**signed, "signature": ""}, separators), "messages")
            del signed["signature"]
            assert hinted(conversation(signed, separators), "messages")


def test_a_body_with_many_or_long_thoughts_is_not_judged_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    body = conversation(OWN, SEPARATORS[0])
    assert not hinted(body, "messages")
    assert not hinted(b'["thinking"]' * 1999, "messages")
    assert hinted(b'["thinking"]' * 2001, "messages")
    monkeypatch.setattr(foreign_thoughts, "STEP", len(body) - 1)
    assert hinted(body, "messages")


def test_a_conversation_continues_with_claude(make_daemon: DaemonFactory, upstream: Any) -> None:
    claude = {"api_type": "anthropic", "api_base": upstream.url.removesuffix("/v1"), "api_key": "sk-ant"}
    daemon = make_daemon({"connections": {"claude": claude}})
    play = upstream.play(*[plain(b"{}")] * (len(FOREIGN) + 2))

    def ask(*thoughts: dict[str, Any]) -> dict[str, Any]:
        turns = [HELLO, {"role": "assistant", "content": [*thoughts, SAID]}, HELLO]
        body = json.dumps({"model": play.model, "max_tokens": 9, "messages": turns}).encode()
        assert daemon.post("/v1/messages", body).status == 200
        sent: dict[str, Any] = json.loads(play.requests[-1].body)
        return sent

    assert ask(*FOREIGN)["messages"][1]["content"] == [SAID]
    for foreign in FOREIGN:
        assert ask(foreign, OWN)["messages"][1]["content"] == [OWN, SAID]
    assert ask(OWN)["messages"][1]["content"] == [OWN, SAID]


def test_a_conversation_continues_with_openai(make_daemon: DaemonFactory, upstream: Any) -> None:
    daemon = make_daemon({"connections": {"main": {"api_base": upstream.url, "api_key": "sk-1"}}})
    play = upstream.play(*[plain(b'{"id": "resp_1", "object": "response", "output": []}')] * 4)

    def ask(*items: dict[str, Any]) -> list[dict[str, Any]]:
        body = json.dumps({"model": play.model, "store": False, "input": [*items, HELLO]}).encode()
        assert daemon.post("/v1/responses", body).status == 200
        sent: list[dict[str, Any]] = json.loads(play.requests[-1].body)["input"]
        return sent

    own = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA-openai"}
    assert ask(own) == [own, HELLO]
    assert ask(own) == [own, HELLO]  # by the fast path, which now knows the head
    assert ask({**own, "encrypted_content": PACKED}, own) == [own, HELLO]
