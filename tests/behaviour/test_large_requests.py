"""A large request is processed beside the event loop: nothing that reads its whole body runs on the loop."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from openai_proxy.pipeline import document
from openai_proxy.protocols import large_json
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.tasks import in_thread
from tests.conftest import DaemonFactory
from tests.front.configurations import WAYS, front_conf
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream


def test_a_large_body_is_read_in_a_thread_and_a_small_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[int] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(body: bytes) -> Any:
            readers.append(threading.get_ident())
            return function(body)

        return noted

    monkeypatch.setattr(large_json, "read_object", noting(large_json.read_object))
    monkeypatch.setattr(document, "parse_object", noting(document.parse_object))
    small = b'{"model":"m"}'
    large = b'{"model":"m"' + b" " * LARGE + b"}"

    async def read() -> list[dict[str, Any]]:
        return [(await document.read_document(body)).members for body in (small, large)]

    assert asyncio.run(read()) == [{"model": "m"}] * 2
    assert readers[0] == threading.get_ident() != readers[1]


def test_the_loop_runs_while_a_large_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop runs between two steps: the reading waits for a callback of the loop and would hang without it."""
    turned = threading.Event()
    steps = 0
    reached: list[Callable[[], object]] = []

    def step(text: bytes) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            reached[0]()
            assert turned.wait(30), "the event loop did not run while the body was read"
        return json.loads(text)

    monkeypatch.setattr(large_json, "_loads", step)

    async def both() -> Any:
        loop = asyncio.get_running_loop()
        reached.append(lambda: loop.call_soon_threadsafe(turned.set))
        return (await in_thread(large_json.read_object, b'{"a":"' + b"x" * 2 * LARGE + b'"}'))[0]

    assert asyncio.run(both()) == {"a": "x" * 2 * LARGE}


@pytest.mark.parametrize("way", WAYS)
def test_large_requests_are_sent_unchanged_or_as_rules_change_them(
    make_daemon: DaemonFactory, upstream: Upstream, way: str
) -> None:
    routing = {"short": "main.long-name", "*": "main.*"}
    daemon = make_daemon(
        front_conf(upstream, routing=routing, params={"default": {"temperature": 0.5}}), flags=WAYS[way]
    )
    text = "hello wörld 😀 \\n" * (LARGE // 12)
    for secret in (False, True):
        play = upstream.play(plain(completion("ok")))
        words = text + ("my key is sk-proj-" + "aB3" * 16 if secret else "")
        body = json.dumps({"model": play.model, "messages": [{"role": "user", "content": words}]}, ensure_ascii=False)
        assert daemon.post("/v1/chat/completions", body.encode()).status == 200
        got = play.wait().body
        assert (got.startswith(body[:-1].encode())) is not secret
        assert json.loads(got)["temperature"] == 0.5
        assert (b"sk-proj-" in got) is False
    refused = daemon.post("/v1/chat/completions", b'{"model":"m","messages":[],"x":[' + b"[]," * LARGE + b"1]}")
    assert (refused.status, refused.json()["error"]["code"]) == (413, "too_many_values")


DOORS = {
    "/v1/chat/completions": lambda model, text: {"messages": [{"role": "user", "content": text}], "model": model},
    "/v1/messages": lambda model, text: {
        "model": model, "max_tokens": 99, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]
    },
    "/v1/responses": lambda model, text: {"model": model, "input": [{"role": "user", "content": text}]},
    "/api/chat": lambda model, text: {"model": model, "stream": False, "messages": [{"role": "user", "content": text}]},
    "/v1beta/models/{}:generateContent": lambda _, text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("model", ["house", "main:plain", "strange:plain"])
def test_a_large_text_is_complete_in_every_api(
    reuse_daemon: DaemonFactory, upstream: Upstream, door: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text read, joined, translated and written in small steps loses no character, except its secrets."""
    play = upstream.play(plain(completion("ok")))
    strange = {"strange": {"api_type": "google", "api_base": upstream.url, "api_key": "sk-strange-key"}}
    conf = front_conf(upstream, connections=strange)
    files = {"models/house.yaml": "name: house\nupstream_model: plain\nsystem_prompt: You keep the house.\n"}
    daemon = reuse_daemon(conf, files=files)
    text = 'hello wörld 😀 \n"' * (LARGE // 12)
    document = DOORS[door](model, text + "my key is sk-proj-" + "aB3" * 16)
    answer = daemon.post(
        door.format(model), json.dumps(document, ensure_ascii=False).encode(), headers=[("X-Play", play.model)]
    )
    assert (answer.status, b"ok" in answer.body) == (200, True)
    sent = play.wait().json()
    message = sent["messages"][-1] if "messages" in sent else sent["input"][-1]
    content = message["content"]
    said = content if isinstance(content, str) else "".join(part["text"] for part in content)
    assert said.startswith(text)
    assert "sk-proj-" not in said
