"""The marks that a Messages client sets for Anthropic's prompt cache reach Claude through an augmented model."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.augmented.configurations import TOOLS
from tests.front.configurations import connection, serving
from tests.harness.daemon import Daemon
from tests.harness.plays import completion, plain
from tests.harness.scripts import Seen
from tests.harness.upstream import Upstream

MARK = {"type": "ephemeral", "ttl": "1h"}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_sequence": None,
           "stop_reason": "end_turn", "content": [{"type": "text", "text": "Hello."}],
           "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
ASKED: dict[str, Any] = {
    "max_tokens": 99,
    "system": [{"type": "text", "text": "The client's prompt.", "cache_control": MARK}],
    "tools": [{"name": "theirs", "input_schema": {"type": "object", "properties": {}}, "cache_control": MARK}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": MARK}]}],
}


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = {
        "connections": {
            "main": connection(upstream.url),
            "claude": connection(upstream.url.removesuffix("/v1"), api_type="anthropic"),
        },
        "default_connection": "main",
        "routing": {"claude*": "claude.*"},
    }
    models = {
        f"models/{name}.yaml": f"name: augmented/{name}\nupstream_model: {name}-x\nsystem_prompt: The house.\n"
        "tools: [double]\n"
        for name in ("claude", "gpt")
    }
    with serving(tmp_path_factory.mktemp("marks"), conf, "spliced", files={**TOOLS, **models}) as daemon:
        yield daemon


def answer(seen: Seen) -> bytes:
    return plain(json.dumps(MESSAGE).encode() if seen.target.endswith("/messages") else completion("Hello."))


@pytest.mark.parametrize("model", ["claude", "gpt"])
def test_marks_reach_claude_and_no_other_model(daemon: Daemon, upstream: Upstream, model: str) -> None:
    play = upstream.acting(answer)
    body = json.dumps({**ASKED, "model": f"augmented/{model}"}).encode()
    answered = daemon.post("/v1/messages", body, headers=[("X-Play", play.model)])
    assert answered.status == 200, answered.body
    assert json.loads(answered.body)["content"][0]["text"] == "Hello."
    sent = play.bodies()[0]
    if model == "gpt":
        assert "cache_control" not in json.dumps(sent)
        assert sent["messages"][0]["content"] == "The house.\n\nThe client's prompt."
        return
    assert sent["system"] == [{"type": "text", "text": "The house.\n\nThe client's prompt.", "cache_control": MARK}]
    assert [tool.get("cache_control") for tool in sent["tools"]] == [None, MARK]
    assert sent["messages"][0]["content"][0] == {"type": "text", "text": "Hi", "cache_control": MARK}
