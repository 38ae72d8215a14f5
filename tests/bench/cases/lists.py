"""Response time of a list of 500 models, in each API's format, for a caller who may use all and for a restricted one.

One connection sends its next request as soon as it is answered, so that queueing does not count.
"""

import asyncio
import http.client
import time
from collections.abc import Mapping, Sequence

from tests.bench.lab import Lab
from tests.bench.load import quantile
from tests.bench.subjects import KEY, Ours, Subject
from tests.bench.table import Goal, Row

NAME = "lists"
HELP = "lists of 500 models: /v1/models in every shape, /api/tags, and what a restricted group sees of them"
MODELS = 500
GOAL = 2.0  # ms
GUEST = "sk-bench-guest-00000000"
DOORS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "/v1/models": ("/v1/models", KEY, {}),
    "/v1/models, a restricted group": ("/v1/models", GUEST, {}),
    "/v1/models, Anthropic's": ("/v1/models?limit=1000", KEY, {"anthropic-version": "2023-06-01"}),
    "/v1/models, Codex's": ("/v1/models?client_version=1.0.0", KEY, {}),
    "/v1beta/models": ("/v1beta/models?pageSize=1000", KEY, {}),
    "/api/tags": ("/api/tags", KEY, {}),
    "/api/tags, a restricted group": ("/api/tags", GUEST, {}),
}


class Library(Ours):
    """Ours, with 500 models, of which guests may use every tenth."""

    def configure(self, text: str) -> None:
        rules = "".join(f'  "m-{number:03}": "spare.m-{number:03}"\n' for number in range(MODELS))
        guests = f'  guests: {{api_keys: ["{GUEST}"], allowed_models: ["m-??0"]}}\n'
        super().configure(text.replace("routing:\n", f"routing:\n{rules}").replace("limits:", f"{guests}limits:"))


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    if not any(subject.name == "ours" for subject in subjects):
        return []
    ours = Library(lab)
    ours.start()
    try:
        times = {
            name: await asyncio.to_thread(ask, ours.port, *door, 300 if lab.quick else 3000)
            for name, door in DOORS.items()
        }
    finally:
        ours.stop()
    return [
        Row(f"list of 500: {name} {word}", "ms", {"ours": quantile(taken, share) * 1e3}, goals)
        for name, taken in times.items()
        for word, share, goals in (("p50", 0.5, ()), ("p99", 0.99, (Goal("<=", GOAL),)))
    ]


def ask(port: int, path: str, key: str, headers: Mapping[str, str], number: int) -> list[float]:
    """The response times of `number` answers in seconds, sorted."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    for _ in range(number):
        began = time.monotonic()
        client.request("GET", path, headers={"Authorization": f"Bearer {key}", **headers})
        answer = client.getresponse()
        told = answer.read()
        times.append(time.monotonic() - began)
        if answer.status != 200 or b"m-490" not in told:
            raise RuntimeError(f"{path} did not return a list: {answer.status} {told[:200]!r}")
    client.close()
    return sorted(times)
