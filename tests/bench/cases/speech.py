"""The cost of the filter for spoken answers, per piece of text that a model sends, without I/O.

The best of many rounds, in CPU time of this process: other work on the machine shall not count.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import cycle

from openai_proxy.transforms.speech.filter import SpeechFilter
from tests.bench.lab import Lab
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "speech"
HELP = "the filter for spoken answers, on plain text and on dense Markdown: CPU time a piece"
GOAL = 2.0  # µs
PLAIN = "The light in the kitchen is on, and it is twenty degrees in the living room. " * 60
DENSE = (
    "## **Six** lights are on [1]:\n\n- [Hall](https://a.example) 💡 `kitchen`\n- **bed** _room_ ~~off~~ 20 °C\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n```\n"
    "See https://example.org/a?b=c and *this* (that) for **more**.\n"
) * 30


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    if not any(subject.name == "ours" for subject in subjects):
        return []
    rounds = 10 if lab.quick else 50
    return [
        Row(f"piece of {word} made speakable", "µs", {"ours": cost(text, rounds)}, (Goal("<=", GOAL),))
        for word, text in (("plain text", PLAIN), ("dense Markdown", DENSE))
    ]


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of three to five characters, as tokens are."""
    at = 0
    for size in cycle((4, 3, 5)):
        if at >= len(text):
            return
        yield text[at : at + size]
        at += size


def cost(text: str, rounds: int) -> float:
    """Microseconds for one piece of `text`."""
    cut = list(pieces(text))
    best = float("inf")
    for _ in range(rounds):
        spoken, began = SpeechFilter(), time.thread_time()
        for piece in cut:
            spoken.feed(piece)
        spoken.end()
        best = min(best, time.thread_time() - began)
    return best / len(cut) * 1e6
