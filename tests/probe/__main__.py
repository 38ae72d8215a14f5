"""`make probe`: how long `/health` has to wait while one large request is served, for every endpoint and every shape.

Another process polls `/health`; this one sends the requests and plays the provider. Each line has the longest wait in
milliseconds and the longest without the work of other processes (see `watching`), which counts on a busy machine.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from openai_proxy.compiled import library
from tests.front.configurations import front_conf
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.probe.cases import FAMILY, GUEST, Case, cases
from tests.probe.readers import cost_of_readers
from tests.probe.realtime import Conversation, conversations, talk
from tests.probe.watching import Watcher, processor_time

MB = 1_000_000
MESSAGE = 15 * MB  # of a realtime conversation
GOAL = 100.0  # milliseconds
REST = 0.3  # seconds in which a daemon uses hardly any processor time once everything is done, records included
PATIENCE = 120.0  # seconds for one request

LIMITS = {"requests_per_day": 10**6, "tokens_per_day": 10**12, "cost_per_day": 10**6, "concurrent_requests": 9}
MODELS = ["main:*", "house", "plain"]
AUGMENTED = "name: house\nupstream_model: plain\nsystem_prompt: You keep the house.\n"


def serve(daemon: Daemon, upstream: Upstream, case: Case | Conversation) -> int:
    """Send the request and wait until the daemon has finished with it; returns the status of its answer."""
    status = talk(daemon, upstream, case) if isinstance(case, Conversation) else ask(daemon, upstream, case)
    settle(daemon)
    return status


def ask(daemon: Daemon, upstream: Upstream, case: Case) -> int:
    """Send the request; returns the status of its answer."""
    play = upstream.play(case.answer())
    body = case.body()
    with daemon.wire(timeout=PATIENCE) as wire:
        fields = [("X-Play", play.model), *case.headers]
        wire.request("POST", case.target, body=body, headers=fields, key=case.key, content_type=case.content_type)
        return wire.answer(keep=False).status


def settle(daemon: Daemon) -> None:
    """Wait until the daemon uses hardly any processor time."""
    end = time.monotonic() + PATIENCE
    before = processor_time(daemon.process.pid)
    while time.monotonic() < end:
        time.sleep(REST)
        now = processor_time(daemon.process.pid)
        if now - before < REST / 4:  # polling alone takes a tenth of that
            break
        before = now


def probe(daemon: Daemon, upstream: Upstream, chosen: list[Case | Conversation]) -> int:
    """Serve `chosen` one after the other and print a line for each; how many exceeded the goal."""
    over = 0
    watcher = Watcher(daemon.address, daemon.process.pid)
    for case in chosen:
        watcher.told()
        status = serve(daemon, upstream, case)
        longest, most = (seconds * 1000 for seconds in watcher.told())
        over += longest > GOAL
        mark = "" if longest <= GOAL else "  over the goal" if most > GOAL else "  (busy machine)"
        print(f"{longest:7.0f} ms  {most:7.0f} ms  {status}  {case.name}{mark}", flush=True)
    watcher.end()
    return over


def main() -> int:
    parser = argparse.ArgumentParser(prog="make probe ARGS=…", description=__doc__)
    parser.add_argument("words", nargs="*", help="only cases whose names hold one of these; `readers` for that alone")
    parser.add_argument("--size", type=float, default=99, help="megabytes of a request (%(default)s)")
    parser.add_argument("--answer-size", type=float, default=20, help="megabytes of an answer (%(default)s)")
    parser.add_argument("--list", action="store_true", help="name the cases")
    wanted = parser.parse_args()
    size, answer_size = int(wanted.size * MB), int(wanted.answer_size * MB)
    found = (*cases(size, answer_size), *conversations(min(size, MESSAGE)))
    chosen = [case for case in found if not wanted.words or any(word in case.name for word in wanted.words)]
    if wanted.list:
        print("\n".join(case.name for case in chosen))
        return 0
    upstream = Upstream().start()
    strange = {"api_type": "google", "api_base": upstream.url, "api_key": "sk-strange-key"}
    groups = {
        "family": {"api_keys": [FAMILY]},
        "guests": {"api_keys": [GUEST], "allowed_models": MODELS, "limits": LIMITS},
    }
    conf = front_conf(upstream, connections={"strange": strange}, limits={"write_seconds": 600}, groups=groups)
    form = "compiled" if library().exists() else "interpreted"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, openai_proxy {form}\n")
    with tempfile.TemporaryDirectory() as root:
        daemon = Daemon(Path(root), conf, files={"models/house.yaml": AUGMENTED}).start()
        try:
            if chosen:
                print("   longest      alone")
            over = probe(daemon, upstream, chosen) if chosen else 0
            if not wanted.words or "readers" in wanted.words:
                over += cost_of_readers(daemon, upstream)
            daemon.stop()
        finally:
            daemon.kill()
            upstream.stop()
    print(f"\n{over} over the goal, load {os.getloadavg()[0]:.1f}")
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
