"""One measurement per file, each with NAME, HELP and `async run(lab, subjects) -> list[Row]`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, cast

from tests.bench.cases import agent, gone, growth, held, lists, reload, speech, start, streams, throughput, translation
from tests.bench.lab import Lab
from tests.bench.subjects import Subject
from tests.bench.table import Row


class Case(Protocol):
    NAME: str
    HELP: str
    run: Callable[[Lab, Sequence[Subject]], Awaitable[list[Row]]]


CASES: dict[str, Case] = {
    module.NAME: cast("Case", module)
    for module in (start, throughput, streams, held, gone, agent, translation, speech, lists, reload, growth)
}
