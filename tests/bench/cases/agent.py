"""The cost of an augmented model: a round with a tool of ours, and the first token of a stream.

The provider answers at once with a call of `calculator`, then with a sentence. The time of a turn, less the provider's
two answers, is two rounds of ours. Measured with 50 conversations at 30 % of what saturates us.
"""

import asyncio
import statistics
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.load import Crowd, Rate, body, quantile, raw_loop
from tests.bench.subjects import Ours, Subject
from tests.bench.table import Goal, Row

NAME = "agent"
HELP = "augmented models: overhead of a round with a tool, delay of the first token with `speech` on"
CONVERSATIONS = 50
SHARE = 0.3  # share of the saturating rate
MODELS = {
    "tool": (
        "name: augmented/tool\nupstream_model: bench-tool\ntools: [calculator]\n"
        'system_prompt: "It is {{get_current_time()}}."\n'
    ),
    "stream": "name: augmented/stream\nupstream_model: bench-50\nspeech: true\nsystem_prompt: You control the house.\n",
}


class Augmented(Ours):
    """Ours, with two augmented models."""

    def configure(self, text: str) -> None:
        super().configure(text)
        (self.root / "conf" / "models").mkdir()
        for name, model in MODELS.items():
            (self.root / "conf" / "models" / f"{name}.yaml").write_text(model)


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    if not any(subject.name == "ours" for subject in subjects):
        return []
    seconds = 3 if lab.quick else 8
    ours = Augmented(lab)
    ours.start()
    try:
        provider = await raw_loop(lab.upstream_port, {}, 1, seconds=1)
        payload = body("augmented/tool")
        await raw_loop(ours.port, ours.headers, 4, seconds=1, payload=payload)
        full = await raw_loop(ours.port, ours.headers, CONVERSATIONS, seconds=seconds / 2, payload=payload)
        pace = CONVERSATIONS / (full.per_second * SHARE)
        paced = await raw_loop(ours.port, ours.headers, CONVERSATIONS, seconds=seconds, payload=payload, pace=pace)
        delay = await first_tokens(ours, "augmented/stream") - await first_tokens(ours, "bench-50")
    finally:
        ours.stop()

    def round_of(rate: Rate, turn: float) -> dict[str, float]:
        return {"ours": (turn - 2 * provider.p50) / 2 * 1e3}

    return [
        Row("agent: turns with a tool, saturated", "1/s", {"ours": full.per_second}),
        Row("agent: overhead of a round p50", "ms", round_of(paced, paced.p50), (Goal("<=", 1.5),)),
        Row("agent: overhead of a round p99", "ms", round_of(paced, paced.p99), (Goal("<=", 5),)),
        Row("agent: first token later by, p50", "ms", {"ours": delay * 1e3}, (Goal("<=", 1),)),
        Row("agent: failed", "", {"ours": float(full.failed + paced.failed)}, (Goal("<=", 0),)),
    ]


async def first_tokens(subject: Subject, model: str) -> float:
    """Median seconds to the first token of streams one after another."""
    firsts = []
    for _ in range(3):
        crowd = Crowd(subject.port, subject.headers)
        await crowd.open(30, 50, 3, at_once=1, model=model)
        await crowd.wait(10)
        firsts += [stream.first for stream in crowd.streams if stream.first is not None and not stream.failed]
        await asyncio.sleep(0)
    return quantile(sorted(firsts), 0.5) if firsts else statistics.fmean([float("nan")])
