"""Response times by hour: the increase of the /metrics histograms in each hour, kept for a month.

No extra counting is needed: once a minute the recorder's thread takes the difference of the sums. Times within a bucket
are unknown, so a percentile is an estimate between the bucket's bounds.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from openai_proxy import statefile
from openai_proxy.errors import BadRequest
from openai_proxy.records.counting.metrics import DURATIONS, Histogram, Metrics

log = logging.getLogger(__name__)

FILE: Final = "latency.json"
HOUR: Final = 3600
KEPT: Final = 31 * 24  # hours
LOOK: Final = 60.0  # seconds between two readings of the sums
SAVE: Final = 600.0  # seconds between two writes

_VERSION: Final = 1
_BOUNDS: Final = (0.0, *DURATIONS, 2 * DURATIONS[-1])
_SPANS: Final = {"hour": HOUR, "day": 24 * HOUR}

Counts = list[int]


class LatencyHistory:
    """`settle` belongs to the recorder's thread, `report` to any other."""

    def __init__(
        self,
        path: Path,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._hours: dict[int, tuple[Counts, Counts]] = {}  # hour since 1970 -> first bytes, whole answers
        self._before = (_sum(()), _sum(()))
        self._looked = self._saved = clock()
        self._counted = 0  # requests, at the last reading
        self._dirty = False
        self._lock = threading.Lock()
        self._load()

    def settle(self, now: bool) -> float | None:
        """Take the difference if it is due (or `now`); returns seconds until it is, None while there is nothing new."""
        at = self._clock()
        counted = sum(self._metrics.requests.values())
        if counted != self._counted and (now or at - self._looked >= LOOK):
            self._looked, self._counted = at, counted
            self._take()
        if self._dirty and (now or at - self._saved >= SAVE):
            self._saved = at
            self._save()
        if counted != self._counted:
            return LOOK - (at - self._looked)
        return max(SAVE - (at - self._saved), 1.0) if self._dirty else None

    def report(self, since: str = "1d", by: str = "hour") -> dict[str, Any]:
        """The JSON of /admin/latency: rows of the last days (`7d`), by `hour` or `day`. Raises BadRequest."""
        if by not in _SPANS:
            raise BadRequest("Latency can be grouped by hour or day.", param="by")
        days = since.removesuffix("d")
        if not (days.isascii() and days.isdigit() and 1 <= len(days) <= 4):
            raise BadRequest("`since` must be days like 7d.", param="since")
        self._take()
        first = int(self._now()) // HOUR - int(days) * 24
        rows: dict[int, tuple[Counts, Counts]] = {}
        for hour, counts in sorted(self._hours.copy().items()):
            if hour > first:
                place = hour * HOUR // _SPANS[by] * _SPANS[by]
                rows[place] = _added(rows.get(place), counts)
        return {"by": by, "rows": [_shown(place, *counts) for place, counts in rows.items()]}

    def _take(self) -> None:
        with self._lock:
            self._add_gains()

    def _add_gains(self) -> None:
        metrics = self._metrics
        sums = (_sum(_named(metrics.first_bytes)), _sum(_named(metrics.durations)))
        first, whole = ([a - b for a, b in zip(*pair, strict=True)] for pair in zip(sums, self._before, strict=True))
        if not any(first) and not any(whole):
            return
        self._before = sums
        hour = int(self._now()) // HOUR
        self._hours[hour] = _added(self._hours.get(hour), (first, whole))
        for old in [known for known in self._hours if known <= hour - KEPT]:
            del self._hours[old]
        self._dirty = True

    def _load(self) -> None:
        size = len(DURATIONS) + 1
        for hour, counts in statefile.load(self._path, _VERSION).get("hours", {}).items():
            if hour.isdigit() and len(counts) == 2 and all(len(part) == size for part in counts):
                self._hours[int(hour)] = (list(counts[0]), list(counts[1]))

    def _save(self) -> None:
        try:
            statefile.save(self._path, _VERSION, {"hours": {str(hour): counts for hour, counts in self._hours.items()}})
        except OSError as error:
            log.warning("the times of answers were not saved: %s", error.strerror)
        else:
            self._dirty = False


def _named(series: dict[tuple[str, str], Histogram]) -> Iterable[Histogram]:
    """The histograms of requests that named a model: lists and files do not matter here."""
    return [histogram for (model, _), histogram in list(series.items()) if model]


def _sum(histograms: Iterable[Histogram]) -> Counts:
    sums = [0] * (len(DURATIONS) + 1)
    for histogram in histograms:
        for bucket, count in enumerate(histogram.counts):
            sums[bucket] += count
    return sums


def _added(known: tuple[Counts, Counts] | None, more: tuple[Counts, Counts]) -> tuple[Counts, Counts]:
    if known is None:
        return list(more[0]), list(more[1])
    first, whole = ([a + b for a, b in zip(x, y, strict=True)] for x, y in zip(known, more, strict=True))
    return first, whole


def percentile(counts: Sequence[int], share: float) -> float | None:
    """The time, in seconds, within which `share` of the answers arrived; None if there were none."""
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for bucket, count in enumerate(counts):
        if count and below + count >= rank:
            low, high = _BOUNDS[bucket], _BOUNDS[bucket + 1]
            part = (rank - below) / count
            if low == 0.0:
                return high * part
            return math.exp(math.log(low) + (math.log(high) - math.log(low)) * part)
        below += count
    return _BOUNDS[-1]


def _shown(at: int, first: Counts, whole: Counts) -> dict[str, Any]:
    def rounded(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds, 3)

    return {
        "at": at,
        "requests": sum(whole),
        "first_p50": rounded(percentile(first, 0.5)),
        "first_p95": rounded(percentile(first, 0.95)),
        "p50": rounded(percentile(whole, 0.5)),
        "p95": rounded(percentile(whole, 0.95)),
    }
