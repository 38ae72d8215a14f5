"""Prices from the installed `genai-prices` package (https://github.com/pydantic/genai-prices), offline.

Its data take 30 MB and a third of a second to import, so a child process looks up new models and exits; the daemon
keeps the answers. `python -m openai_proxy.records.counting.bundled_prices` is that child: one question per line in, one
price per line out, both as JSON.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import orjson

from openai_proxy.children import python_environment
from openai_proxy.records.counting.rates import ModelPrice, Rates
from openai_proxy.records.reading.tokens import CHARACTERS_A_TOKEN

log = logging.getLogger(__name__)

PATIENCE: Final = 20.0  # seconds for the child: generous, since it may be a small machine under load
FRESH: Final = 3600.0  # seconds for which a price is valid: some change with the date, or by the hour
RETRY_AFTER: Final = 60.0  # seconds until a failed child is retried
MAX_KNOWN: Final = 2000  # models; their names come from clients

_MILLION: Final = 1_000_000
_RATES: Final = (
    ("input_mtok", None),
    ("cache_read_mtok", "input_mtok"),
    ("cache_write_mtok", "input_mtok"),
    ("output_mtok", None),
    ("output_reasoning_mtok", "output_mtok"),
    ("input_audio_mtok", "input_mtok"),
    ("input_image_mtok", "input_mtok"),
    ("output_audio_mtok", "output_mtok"),
    ("output_image_mtok", "output_mtok"),
    ("cache_write_1h_mtok", "cache_write_mtok"),
)
"""The members of `Rates` by the package's names, and the fallback for one that is not listed."""


class PriceQuestion(NamedTuple):
    """What to look up: the model of a connection."""

    api_type: str
    api_base: str
    connection: str
    model: str


Ask = Callable[[list[PriceQuestion]], list[Any]]
"""Returns a price as JSON for each question, None if there is none. Raises OSError, ValueError or SubprocessError."""


class BundledPrices:
    """The child's answers so far."""

    def __init__(self, ask: Ask | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask or ask_child
        self._clock = clock
        self._known: dict[PriceQuestion, tuple[float, ModelPrice | None]] = {}
        self._lock = threading.Lock()  # one child at a time
        self._retry_at = 0.0

    def answer(self, question: PriceQuestion) -> tuple[bool, ModelPrice | None]:
        """Whether the answer is known, and the price (None: there is none). Starts no child."""
        found = self._known.get(question)
        return (True, found[1]) if found is not None else (False, None)

    def known(self, question: PriceQuestion) -> tuple[bool, ModelPrice | None]:
        """The same, but after the child has failed there are no prices for a while."""
        known, price = self.answer(question)
        return known or self._clock() < self._retry_at, price

    def look_up(self, questions: Iterable[PriceQuestion]) -> None:
        """Get an answer to each of `questions`. Blocks while the child reads its data, about half a second."""
        with self._lock:
            now = self._clock()
            wanted = [q for q in dict.fromkeys(questions) if q not in self._known or self._known[q][0] <= now]
            if not wanted or now < self._retry_at:
                return
            try:
                answers = self._ask(wanted)
                prices = [_price(answer) for answer in answers]
                if len(prices) != len(wanted):
                    raise ValueError("an answer is missing")
            except (OSError, ValueError, TypeError, KeyError, subprocess.SubprocessError) as error:
                log.warning("the bundled prices cannot be read (%s); costs stay unknown", type(error).__name__)
                self._retry_at = self._clock() + RETRY_AFTER
                return
            if len(self._known) + len(wanted) > MAX_KNOWN:
                self._known = {}
            until = self._clock() + FRESH
            self._known.update({question: (until, price) for question, price in zip(wanted, prices, strict=True)})


def ask_child(questions: list[PriceQuestion]) -> list[Any]:
    """The answers of a child process. Raises what `Ask` may raise."""
    child = subprocess.run(  # noqa: S603 - ourselves, with nothing of a client's on the command line
        [sys.executable, "-m", __name__],
        input=b"\n".join(orjson.dumps(tuple(question)) for question in questions),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=python_environment(os.environ),
        timeout=PATIENCE,
        check=True,
    )
    return [orjson.loads(line) for line in child.stdout.splitlines()]


def _price(answer: Any) -> ModelPrice | None:
    if answer is None:
        return None
    tiers = tuple((int(start), Rates(*map(float, rates))) for start, rates in answer["tiers"])
    return ModelPrice(tiers, float(answer["second"]), float(answer["request"]))


# -- the child's side ---------------------------------------------------------------------------------------------


def find_price(question: PriceQuestion) -> dict[str, Any] | None:
    """The present price of a model, as JSON; None if it is not in the data. Imports `genai_prices`."""
    from datetime import UTC, datetime

    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    for model, ids in _ways(question):
        try:
            _, found = snapshot.find_provider_model(model, None, ids.get("id"), ids.get("url"))
        except LookupError:
            continue
        price = _as_json(found.get_prices(datetime.now(UTC)))
        if price is not None:
            return price
    return None


def _ways(question: PriceQuestion) -> Iterable[tuple[str, dict[str, str]]]:
    """The ways to find a model: by the provider's address, its type or name, or the model's own name."""
    model = question.model
    yield model, {"url": question.api_base}
    if question.api_type != "openai":
        yield model, {"id": question.api_type}
        return
    yield model, {"id": question.connection}
    yield model, {}
    maker, slash, rest = model.partition("/")
    if slash:
        yield rest, {"id": maker}
        yield model, {"id": "openrouter"}
    yield model, {"id": question.api_type}


def _as_json(price: Any) -> dict[str, Any] | None:
    members = {name: value for name, value in vars(price).items() if value is not None and not name.startswith("_")}
    if (spoken := members.get("input_mchars")) is not None:  # speech, whose text is counted as if it were tokens
        members.setdefault("input_mtok", spoken * CHARACTERS_A_TOKEN)
    known = {name for name, _ in _RATES} & members.keys()
    second = _flat(members.get("audio_hours") or members.get("input_audio_hours")) / 3600
    request = _flat(members.get("requests_kcount")) / 1000
    if not known and not second and not request:
        return None  # per page or search, which answers do not report
    starts = sorted({-1, *(tier.start for name in known for tier in getattr(members[name], "tiers", ()))})
    return {"tiers": [(start, _rates(members, start)) for start in starts], "second": second, "request": request}


def _rates(members: dict[str, Any], start: int) -> list[float]:
    """The price of a token if the input has more than `start` tokens."""
    found: dict[str, float] = {}
    for name, stand_in in _RATES:
        value = members.get(name)
        if value is None:
            found[name] = found[stand_in] if stand_in is not None else 0.0
            continue
        rate = value if not hasattr(value, "base") else value.base
        for tier in getattr(value, "tiers", ()):
            rate = tier.price if start >= tier.start else rate
        found[name] = float(rate) / _MILLION
    return list(found.values())


def _flat(value: Any) -> float:
    return float(getattr(value, "base", value) or 0)


def main() -> None:
    """Answer the questions on stdin."""
    for line in sys.stdin.buffer:
        try:
            answer = find_price(PriceQuestion(*orjson.loads(line)))
        except ImportError:  # the package is not installed
            answer = None
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")


if __name__ == "__main__":
    main()
