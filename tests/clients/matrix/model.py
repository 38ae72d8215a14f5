"""The model behind the daemon: its answer depends on a word in the question, and on the results of its calls.

    TEXTONLY    a sentence
    THEIRTOOL   calls a tool of the client's, then says that it is done
    OURTOOL     calls `double`, a tool of ours, then states the result
    BOTHTOOLS   calls both in one turn; reports success only if both results were returned
    SUBAGENT    has a sub-agent asked what follows that word, and repeats what it has found
    TOOLSEARCH  lets the client look for its tool first

It supports chat completions and Messages, streamed and whole, but not the Responses API.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from tests.harness.plays import DONE, event, plain, stream

if TYPE_CHECKING:
    from tests.harness.scripts import Seen

DONE_TEXT: Final = "The tool has run and all is done."
OURS_TEXT: Final = "It is 42."
BOTH_TEXT: Final = "All done, both results are here."
TEXT: Final = "Hello from the model."
MISSING: Final = "A result is missing."

_AGENTS: Final = ("Task", "Agent")
_SEARCH: Final = "ToolSearch"
_SEARCHED: Final = "mcp__desk__theirs"
_SEARCH_ID: Final = "call_search"

_THEIRS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("theirs", {"x": 1}),
    ("HassTurnOn", {"name": "Lamp"}),
    ("exec_command", {"cmd": "echo hi"}),
    ("shell", {"command": ["echo", "hi"]}),
    (_SEARCHED, {"x": 1}),
    ("Bash", {"command": "echo hi", "description": "says hi"}),
    ("bash", {"command": "echo hi", "description": "says hi"}),
    ("run_shell_command", {"command": "echo hi", "description": "says hi", "is_background": False}),
    ("run_commands", {"commands": ["echo hi"]}),
    ("execute_command", {"command": "echo hi", "requires_approval": False}),
)
"""Tools of clients, with harmless arguments."""

_NO_THREAD: Final = {"type": "error", "error": {"type": "not_found_error", "message": "The thread is not known.",
                                                "details": {"error_code": "thread_not_found"}}}  # fmt: skip

Call = tuple[str, str, str]
"""Id, name, arguments."""


def answer(seen: "Seen") -> bytes:
    """The model's answer to one request."""
    path = seen.target.partition("?")[0].removeprefix("/v1")
    if seen.method == "POST" and path in ("/chat/completions", "/messages"):
        body = seen.json()
        if (body.get("thread") or {}).get(
            "type"
        ) == "continue":  # conversations are not stored here, so the SDK sends the whole history
            return plain(json.dumps(_NO_THREAD).encode(), "404 Not Found")
        text, calls = _decide(body)
        number = len(json.dumps(body.get("messages")))
        made = [
            (f"{_SEARCH_ID if name == _SEARCH else 'call'}_{number:06d}{at:012d}", name, arguments)
            for at, (name, arguments) in enumerate(calls)
        ]
        return _chat(body, text, made) if path == "/chat/completions" else _messages(body, text, made)
    if path == "/messages/count_tokens":
        return plain(b'{"input_tokens": 9}')
    return plain(b'{"error":{"message":"Not found","type":"invalid_request_error","param":null,"code":null}}', "404 No")


def _decide(body: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    messages = body["messages"]
    asked = " ".join(_text(m) for m in messages if m["role"] in ("user", "system", "developer"))
    found = set(_found(messages))
    offered = {
        name
        for tool in body.get("tools") or ()
        if (name := (tool.get("function") or tool).get("name")) and (not tool.get("defer_loading") or name in found)
    }
    if "SUBAGENT" in asked:
        return _of_sub_agent(messages, asked, next((name for name in _AGENTS if name in offered), None))
    searched = f"{_SEARCH_ID}_" in json.dumps([m for m in messages if m["role"] == "assistant"])
    if "TOOLSEARCH" in asked and "OURTOOL" not in asked and not searched:
        if _SEARCH not in offered or _SEARCHED in offered:
            return MISSING, []
        return "", [(_SEARCH, json.dumps({"query": f"select:{_SEARCHED}", "max_results": 5}))]
    theirs = next(((name, json.dumps(args)) for name, args in _THEIRS if name in offered), None)
    ours = ("double", '{"number":21}') if "double" in offered else None
    results = _results(messages)
    if "BOTHTOOLS" in asked and ours and theirs:
        if not results:
            return "", [ours, theirs]
        return (BOTH_TEXT if "42" in results and len(results) >= 2 else MISSING), []
    if "OURTOOL" in asked and ours:
        return (OURS_TEXT if "42" in results else MISSING, []) if results else ("", [ours])
    if "THEIRTOOL" in asked and theirs:
        return (DONE_TEXT, []) if results else ("", [theirs])
    return TEXT, []


def _of_sub_agent(messages: list[dict[str, Any]], asked: str, agent: str | None) -> tuple[str, list[tuple[str, str]]]:
    told = " ".join(_results(messages))
    if told or agent is None:
        return next((said for said in (DONE_TEXT, OURS_TEXT, BOTH_TEXT, TEXT) if said in told), MISSING), []
    prompt = asked.rpartition("SUBAGENT ")[2].partition(".")[0]
    task = {"description": "Ask another", "prompt": prompt, "subagent_type": "general-purpose"}
    return "", [(agent, json.dumps(task))]


def _found(messages: list[dict[str, Any]]) -> Iterator[str]:
    """The tools that a search of the client has found, in Messages form."""
    for message in messages:
        for block in message["content"] if isinstance(message.get("content"), list) else ():
            inner = block.get("content") if block.get("type") == "tool_result" else None
            for piece in inner if isinstance(inner, list) else ():
                if piece.get("type") == "tool_reference":
                    yield piece["tool_name"]


def _results(messages: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for message in messages:
        content = message.get("content")
        if message["role"] == "tool" and not message["tool_call_id"].startswith(_SEARCH_ID):
            found.append(_text(message).strip())
        elif message["role"] == "user" and isinstance(content, list):
            results = [block for block in content if block.get("type") == "tool_result"]
            found += [_text(b).strip() for b in results if not b["tool_use_id"].startswith(_SEARCH_ID)]
    return found


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text") or "") for part in content or () if isinstance(part, dict))


def _chat(body: dict[str, Any], text: str, calls: list[Call]) -> bytes:
    made = [
        {"index": at, "id": i, "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (i, name, arguments) in enumerate(calls)
    ]
    finish = "tool_calls" if made else "stop"
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
    if body.get("stream"):
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in (text[:5], text[5:]) if piece]
        deltas += [{"tool_calls": [call]} for call in made]
        chunk = {**head, "object": "chat.completion.chunk"}
        events = [event({**chunk, "choices": [{"index": 0, "delta": d, "finish_reason": None}]}) for d in deltas]
        events.append(event({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append(event({**chunk, "choices": [], "usage": usage}))
        return stream(*events, DONE)
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if made:
        message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in made]
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return plain(json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode())


def _messages(body: dict[str, Any], text: str, calls: list[Call]) -> bytes:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [{"type": "tool_use", "id": i, "name": n, "input": json.loads(a)} for i, n, a in calls]
    reason = "tool_use" if calls else "end_turn"
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content,
               "stop_reason": reason, "stop_sequence": None,
               "usage": {"input_tokens": 9, "output_tokens": 5}}  # fmt: skip
    if not body.get("stream"):
        return plain(json.dumps(message).encode())
    found: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    ]
    for index, block in enumerate(content):
        if block["type"] == "text":
            start, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        found += [{"type": "content_block_start", "index": index, "content_block": start},
                  {"type": "content_block_delta", "index": index, "delta": delta},
                  {"type": "content_block_stop", "index": index}]  # fmt: skip
    found += [{"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None},
               "usage": {"output_tokens": 5}}, {"type": "message_stop"}]  # fmt: skip
    return stream(*(event(entry, name=entry["type"]) for entry in found))
