"""Recorded answers of real vendors through the daemon. They are not part of the project: skipped without them."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.agent.grammar import check
from tests.harness.daemon import Daemon
from tests.harness.plays import LAST, SSE_HEAD, chunk
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream
from tests.upstream.anthropic_oracle import vendor_reads
from tests.upstream.scripted import RECORDED

CHAT = sorted((RECORDED / "openai-chat").glob("*.sse"))
MESSAGES = sorted((RECORDED / "anthropic-messages").glob("*.sse"))

needs_recordings = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded streams are not in this checkout")
SIZES = (13, 1024)


def play(upstream: Upstream, data: bytes, size: int) -> Play:
    """`data` in HTTP chunks of `size` bytes."""
    return upstream.play(SSE_HEAD + b"".join(chunk(data[i : i + size]) for i in range(0, len(data), size)) + LAST)


def ask(kinds: Daemon, name: str, script: Play, **more: Any) -> bytes:
    answer = kinds.chat(name, stream=True, headers=[("X-Play", script.model)], **more)
    assert answer.status == 200
    assert answer.complete
    return answer.body


@needs_recordings
@pytest.mark.parametrize("path", CHAT, ids=lambda p: p.stem)
def test_openais_format_passes_byte_for_byte_and_follows_the_grammar(
    kinds: Daemon, upstream: Upstream, path: Path
) -> None:
    data = path.read_bytes()
    for size in SIZES:
        assert ask(kinds, "openai:m", play(upstream, data, size)) == data
        body = ask(kinds, "augmented/openai", play(upstream, data, size), tools=_tools_of(data))
        seen = check(body, model="augmented/openai")
        text, names, fine = _read(data)
        assert (seen.error is None) == fine
        if fine:
            assert seen.content.split() == text.rpartition("</think>")[2].split()
            assert [call["function"]["name"] for call in seen.calls] == names


@needs_recordings
@pytest.mark.parametrize("path", MESSAGES, ids=lambda p: p.stem)
def test_anthropics_format_reads_the_same_as_with_its_own_sdk(kinds: Daemon, upstream: Upstream, path: Path) -> None:
    data = path.read_bytes()
    text, _, calls, _ = vendor_reads(data)
    for size in SIZES:
        script = play(upstream, data, size)
        with openai.OpenAI(base_url=kinds.url, api_key="any", max_retries=0, timeout=30) as client:
            question: Any = [{"role": "user", "content": "Hi"}]
            with client.chat.completions.stream(
                model="anthropic:m", messages=question, extra_headers={"X-Play": script.model}
            ) as events:
                message = events.get_final_completion().choices[0].message
        assert (message.content or "") == text
        assert [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or ()] == calls


def _tools_of(data: bytes) -> list[dict[str, Any]]:
    """The tools that the recorded answer calls, as the client's own."""
    return [{"type": "function", "function": {"name": name}} for name in sorted({*_read(data)[1], "unused"})]


def _read(data: bytes) -> tuple[str, list[str], bool]:
    """Text, names of calls, and whether the answer is complete: read without our code."""
    text, finish, fine = "", None, True
    names: dict[int, str] = {}
    for line in data.decode().splitlines():
        payload = line.removeprefix("data:").strip()
        if not line.startswith("data:") or payload == "[DONE]":
            continue
        event = json.loads(payload)
        fine = fine and "error" not in event
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            content = delta.get("content")
            text += content if isinstance(content, str) else "".join(p.get("text") or "" for p in content or ())
            for call in delta.get("tool_calls") or ():
                if call.get("function", {}).get("name"):
                    names[call["index"]] = call["function"]["name"]
            finish = choice.get("finish_reason") or finish
    return text, [names[index] for index in sorted(names)], fine and finish is not None
