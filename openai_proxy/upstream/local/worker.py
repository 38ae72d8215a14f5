"""The child's side: `python -m openai_proxy.upstream.local --path DIR | --callable module.function`.

Reads requests from stdin and writes events to stdout (see the package's docstring). Output of libraries goes to stderr:
descriptor 1 is moved away before anything else is imported. One request at a time; a cancellation takes effect between
two tokens, because stdin is read in a separate thread. When stdin ends, so does the process, at once.
"""

import argparse
import json
import os
import queue
import sys
import threading
import traceback
from typing import Any

from openai_proxy.upstream.local.engine import Engine, EngineRefused


class EventOutput:
    """The connection to the daemon: one JSON object per line."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def emit(self, event: str, **members: Any) -> None:
        """Write one event."""
        self._file.write(json.dumps({"event": event, **members}).encode() + b"\n")


class RequestInput:
    """Requests in order; `cancelled` of the running one is set by the reading thread."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[tuple[int, dict[str, Any], threading.Event]] = queue.Queue()
        self._events: dict[int, threading.Event] = {}
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def next(self) -> tuple[int, dict[str, Any], threading.Event]:
        """The next request; waits for it."""
        return self._jobs.get()

    def done(self, number: int) -> None:
        """Request `number` has ended."""
        self._events.pop(number, None)

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if message["op"] == "generate":
                event = self._events[message["id"]] = threading.Event()
                self._jobs.put((message["id"], message["body"], event))
            elif (running := self._events.get(message["id"])) is not None:
                running.set()
        os._exit(0)  # the daemon is gone, so nobody needs a running answer


class StopText:
    """Text up to the first stop sequence; a possible start of one is held back."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """The part of the text so far that can be sent."""
        if self.found:
            return ""
        if not self._stops:
            return text
        held = self._held + text
        places = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if places:
            self.found = True
            self._held = ""
            return held[: min(places)]
        keep = max(_overlap(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    for size in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


def answer(engine: Engine, outlet: EventOutput, number: int, body: dict[str, Any], cancelled: threading.Event) -> None:
    """Answer one request with deltas and one final event."""
    given = body.get("stop")
    stops = [given] if isinstance(given, str) else [stop for stop in given or () if isinstance(stop, str)]
    stop = StopText([text for text in stops if text])
    try:
        run = engine.run(body, cancelled)
        for piece in run:
            if cancelled.is_set():
                break
            delta = {"content": stop.feed(piece)} if isinstance(piece, str) else piece
            if delta != {"content": ""}:
                outlet.emit("delta", id=number, delta=delta)
            if stop.found:
                cancelled.set()  # the rest is not needed
                break
        if not stop.found and (rest := stop.end()):
            outlet.emit("delta", id=number, delta={"content": rest})
    except EngineRefused as error:
        outlet.emit("error", id=number, status=error.status, code=error.code, message=str(error))
        return
    except Exception:
        traceback.print_exc()
        outlet.emit("error", id=number, status=500, code="local_error", message="The local model failed.")
        return
    outlet.emit(
        "done",
        id=number,
        finish_reason="stop" if stop.found else run.finish_reason,
        prompt_tokens=run.prompt_tokens,
        completion_tokens=run.completion_tokens,
    )


def load(arguments: argparse.Namespace) -> Engine:
    """The requested engine. Raises EngineRefused with words for the owner."""
    for place in arguments.search:
        sys.path.insert(0, place)
    if arguments.callable:
        from openai_proxy.upstream.local.function import Function

        return Function(arguments.callable)
    try:
        import torch
        import transformers
    except ImportError:
        raise EngineRefused(
            "Local models need the optional extra: in a clone, pip install '.[local]'.",
            status=503,
            code="local_extra_missing",
        ) from None
    del torch, transformers
    from openai_proxy.upstream.local.model import Model

    return Model(arguments.path)


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--path")
    parser.add_argument("--callable")
    parser.add_argument("--search", action="append", default=[])
    arguments = parser.parse_args()
    outlet = EventOutput(os.dup(1))
    os.dup2(2, 1)
    inlet = RequestInput()
    try:
        engine = load(arguments)
    except EngineRefused as error:
        outlet.emit("failed", status=error.status, code=error.code, message=str(error))
        return
    except Exception:
        traceback.print_exc()
        outlet.emit("failed", status=503, code="local_error", message="The local model could not be loaded.")
        return
    outlet.emit("ready")
    while True:
        number, body, cancelled = inlet.next()
        answer(engine, outlet, number, body, cancelled)
        inlet.done(number)
