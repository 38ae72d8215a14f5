"""An MCP server over stdio that misbehaves on demand. Standard library only: `python fault_server.py MODE [MODE …]`.

Each mode is one fault that the supervisor must survive. Without a mode it is a small, correct 2025-era server with the
tools `echo`, `sleep`, `env`, `fds`, `progress`, `die` and whatever the modes add.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

MODES = dict(mode.partition("=")[::2] for mode in sys.argv[1:])
OUT = threading.Lock()
CANCELLED: set[object] = set()
CALLS: list[str] = []
ANSWERS: list[object] = []
ANSWERED = threading.Event()
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def send(message: object) -> None:
    raw(json.dumps(message).encode() + b"\n")


def raw(data: bytes) -> None:
    with OUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def reply(request: dict, result: object) -> None:
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})


def fail(request: dict, code: int, message: str) -> None:
    send({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}})


def text(value: str) -> dict:
    return {"content": [{"type": "text", "text": value}]}


def tool(name: str, schema: object = None, **more: object) -> dict:
    return {"name": name, "description": f"The tool {name}", "inputSchema": schema or {"type": "object"}, **more}


def tools() -> list:
    listed = [tool(name) for name in ("sleep", "env", "fds", "progress", "die", "cancelled", "calls")]
    listed.append(tool("echo", TEXT))
    if "meta" in MODES:
        listed.append(tool("meta"))
    if "bad-tools" in MODES:
        listed += [
            {"name": "no_schema", "description": "none"},
            tool("empty_schema", {"$comment": "no type"}),
            {"name": "null_schema", "inputSchema": None},
            {"name": "array_schema", "inputSchema": []},
            {"name": 7, "inputSchema": {"type": "object"}},
            tool("bad_required", {"type": "object", "required": "text"}),
            tool("bad_property", {"type": "object", "properties": {"a": None}}),
            tool("wants_output", outputSchema={"type": "object", "required": ["x"]}),
            "not a tool",
        ]
    if "changes" in MODES:
        listed.append(tool("late") if MODES.get("_changed") else tool("early"))
        listed.append({**tool("shifty"), "description": "evil" if MODES.get("_changed") else "good"})
    if "many" in MODES:
        listed += [{**tool(f"t{i:04}"), "description": "x" * 2000} for i in range(int(MODES["many"]))]
    return listed


def answer_list(request: dict) -> None:
    if "endless-pages" in MODES:
        page = int((request.get("params") or {}).get("cursor") or 0)
        reply(request, {"tools": [tool(f"p{page}")], "nextCursor": str(page + 1)})
    elif "same-cursor" in MODES:
        reply(request, {"tools": [tool("once")], "nextCursor": "again"})
    elif "pages" in MODES:
        page = int((request.get("params") or {}).get("cursor") or 0)
        more = {"nextCursor": str(page + 1)} if page < 2 else {}
        reply(request, {"tools": [tool(f"p{page}_{i}") for i in range(10)], **more})
    else:
        reply(request, {"tools": tools()})


def call(request: dict) -> None:
    name = request["params"]["name"]
    arguments = request["params"].get("arguments") or {}
    CALLS.append(name)
    if name == "sleep":
        print("sleeping", file=sys.stderr, flush=True)  # so that a test knows when the call has arrived
        while "until" in arguments and not Path(arguments["until"]).exists():
            time.sleep(0.01)
        time.sleep(float(arguments.get("seconds", 0)))
        reply(request, text("slept"))
    elif name == "env":
        reply(request, text(json.dumps(dict(os.environ))))
    elif name == "meta":
        reply(request, text(json.dumps(request["params"].get("_meta"))))
    elif name == "fds":
        reply(request, text(" ".join(sorted(fd.name for fd in Path("/proc/self/fd").iterdir()))))
    elif name == "progress":
        token = request["params"].get("_meta", {}).get("progressToken")
        for step in range(3):
            params = {"progressToken": token, "progress": step + 1, "total": 3, "message": f"step {step + 1}"}
            send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            time.sleep(0.12)
        reply(request, text("done"))
    elif name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "cancelled":
        reply(request, text(str(len(CANCELLED))))
    elif name == "calls":
        reply(request, text(" ".join(CALLS)))
    else:
        call_mode(request, name, arguments)


def call_mode(request: dict, name: str, arguments: dict) -> None:
    value = arguments.get("text", "")
    if value == "mute":
        return
    if value == "wrong-id":
        send({"jsonrpc": "2.0", "id": 99999, "result": text("for nobody")})
    elif value == "garbage":
        raw(b"{not json\nplain words\n\n[]\n17\n")
        reply(request, text("after garbage"))
    elif value == "bad-utf8":
        body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": text("@@")}).encode()
        raw(body.replace(b"@@", b"\xff\xfe\xc3") + b"\n")
    elif value == "huge":
        reply(request, text("x" * (int(arguments.get("size", 50)) << 20)))
    elif value == "endless":
        while True:
            raw(b"x" * 1_000_000)
    elif value == "bad-content":
        reply(request, {"content": "just a string"})
    elif value == "bad-blocks":
        blocks = [
            {"type": "text"},
            {"type": "image"},
            {"type": "hologram", "x": 1},
            "words",
            {"type": "text", "text": "good"},
        ]
        reply(request, {"content": blocks, "isError": "no", "structuredContent": [1]})
    elif value == "ask":
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        params = {"message": "Your name?", "requestedSchema": schema}
        send({"jsonrpc": "2.0", "id": "ask-1", "method": "elicitation/create", "params": params})
        ANSWERED.wait(5)
        reply(request, text(json.dumps(ANSWERS)))
    elif value == "result-string":
        send({"jsonrpc": "2.0", "id": request["id"], "result": "a string"})
    elif value == "error":
        fail(request, -32000, "Connection closed: key sk-very-secret-key-1 in /home/owner/private/keys.txt")
    elif value == "is-error":
        reply(request, {**text("No entities matched the name 'x'"), "isError": True})
    elif value == "ha":
        reply(request, text(json.dumps({"success": True, "result": "Live Context:\n- names: Lamp\n"})))
    elif value == "notifications":
        for _ in range(20_000):
            send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}})
        reply(request, text("after the flood"))
    elif value == "stderr":
        for _ in range(2_000):
            os.write(2, b"noise noise noise noise noise noise\n" * 100)
        reply(request, text("after the noise"))
    elif value == "change":
        MODES["_changed"] = "1"
        send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        reply(request, text("changed"))
    elif value == "exit":
        reply(request, text("bye"))
        os._exit(0)
    elif name == "wants_output":
        reply(request, text("no structure at all"))
    else:
        reply(request, text(value))


def initialize(request: dict) -> None:
    if "hang-initialize" in MODES:
        time.sleep(3600)
    version = MODES.get("version") or "2025-06-18"
    capabilities = {"tools": {"listChanged": True}}
    info = {"name": "fault", "version": "1"}
    reply(request, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})


def handle(request: dict) -> None:
    method = request.get("method")
    if method == "notifications/cancelled":
        CANCELLED.add(request["params"]["requestId"])
    elif "id" not in request:
        return
    elif method is None:
        ANSWERS.append(request.get("result") or request.get("error"))
        ANSWERED.set()
    elif method == "initialize":
        initialize(request)
    elif method == "tools/list":
        answer_list(request)
    elif method == "tools/call":
        threading.Thread(target=call, args=(request,), daemon=True).start()
    elif method == "ping":
        reply(request, {})
    elif "die-on-discover" in MODES:
        os._exit(1)
    elif "mute-on-discover" not in MODES:
        fail(request, -32601, "Method not found")


def start() -> None:
    if "die" in MODES:
        print("cannot start: the frobnicator is missing", file=sys.stderr, flush=True)
        sys.exit(3)
    if "die-if" in MODES and Path(MODES["die-if"]).exists():
        print("told to die", file=sys.stderr, flush=True)
        sys.exit(4)
    if "banner" in MODES:
        raw(b"Welcome to the fault server!\n\xff\xfe\n{not json\n")
    if "ignore-term" in MODES:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "grandchild" in MODES:
        # "new-session": it leaves the process group, as daemons do.
        child = subprocess.Popen(
            [sys.executable, "-c", "import signal,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);time.sleep(3600)"],
            stdin=None if MODES["grandchild"] == "holds-pipes" else subprocess.DEVNULL,
            stdout=None if MODES["grandchild"].startswith("holds-pipe") else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=MODES["grandchild"] == "new-session",
        )
        print(f"grandchild {child.pid}", file=sys.stderr, flush=True)
    if "slow-start" in MODES:
        time.sleep(float(MODES["slow-start"]))


def main() -> None:
    start()
    for line in sys.stdin.buffer:
        handle(json.loads(line))
        if "stop-reading" in MODES and b"tools/list" in line:
            time.sleep(3600)
    if "ignore-eof" in MODES:
        while True:
            time.sleep(3600)
    os._exit(0)


main()
