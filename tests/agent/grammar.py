"""An independent check of the grammar of augmented streams (contract §4), without code of the implementation."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """The contents of a stream as a client sees them."""

    content: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    heartbeats: int = 0
    finish: str | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    done: bool = False


def check(data: bytes, *, model: str = "augmented/m", usage_asked: bool = False) -> Seen:
    """Assert that `data` is a well-formed augmented stream with one choice; returns its contents."""
    seen = Seen()
    assert b"\r" not in data
    assert data.endswith(b"\n\n"), data[-80:]
    blocks = data.decode().split("\n\n")[:-1]
    assert blocks
    ids, models, created = set(), set(), set()
    for number, block in enumerate(blocks):
        assert block.startswith("data: "), block
        assert "\n" not in block, "an event has more than its data: line"
        payload = block[len("data: ") :]
        assert not seen.done, "there is an event after [DONE]"
        assert seen.error is None, "there is an event after the error"
        if payload == "[DONE]":
            seen.done = True
            continue
        chunk = json.loads(payload)
        if "error" in chunk:
            assert "choices" not in chunk
            assert set(chunk["error"]) == {"message", "type", "param", "code"}
            assert chunk["error"]["message"]
            seen.error = chunk["error"]
            continue
        assert chunk["object"] == "chat.completion.chunk"
        ids.add(chunk["id"])
        models.add(chunk["model"])
        created.add(chunk["created"])
        assert seen.usage is None, "there is a chunk after the usage"
        if not chunk["choices"]:
            assert usage_asked, "usage was sent without being requested"
            assert seen.finish is not None
            seen.usage = chunk["usage"]
            assert isinstance(seen.usage, dict)
            continue
        assert "usage" not in chunk or chunk["usage"] is None
        (choice,) = chunk["choices"]
        assert choice["index"] == 0
        _choice(choice, chunk, seen, first=number == 0)
    assert models == {model}
    assert len(ids) == 1
    assert len(created) == 1
    if seen.error is None:
        assert seen.done
        assert seen.finish is not None
        assert (seen.finish == "tool_calls") == bool(seen.calls) or seen.finish in ("length", "content_filter")
    else:
        assert seen.finish is None, "a failed stream has a finish_reason"
        assert not seen.done
    return seen


def _choice(choice: dict[str, Any], chunk: dict[str, Any], seen: Seen, *, first: bool) -> None:
    delta = choice["delta"]
    assert isinstance(delta, dict)
    assert seen.finish is None, "there is a choice after the finish_reason"
    if first:
        assert delta == {"role": "assistant", "content": ""}
        assert choice["finish_reason"] is None
        return
    assert "role" not in delta, "the role was sent twice"
    if choice["finish_reason"] is not None:
        assert delta == {}
        seen.finish = choice["finish_reason"]
    elif "proxy_status" in chunk:
        status = chunk["proxy_status"]
        assert delta == {}
        assert status["type"] == "tool_execution"
        assert status["status"] in ("calling_llm", "executing_tool", "tool_completed", "processing_results")
        assert not seen.calls
        seen.statuses.append(status)
    elif "tool_calls" in delta:
        assert set(delta) == {"tool_calls"}
        (call,) = delta["tool_calls"]
        assert call["index"] == len(seen.calls)
        assert call["id"]
        assert call["type"] == "function"
        assert call["function"]["name"]
        assert isinstance(call["function"]["arguments"], str)
        assert call["function"]["arguments"]
        seen.calls.append(call)
    elif not delta:
        if not choice.get("logprobs"):
            seen.heartbeats += 1
    else:
        assert not seen.calls, "there is text after a call"
        content, reasoning = delta.get("content"), delta.get("reasoning_content")
        assert content is None or content != ""
        seen.content += content or ""
        seen.reasoning += reasoning or ""
