"""Rows of measurements, their goals, and the one table that shows them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Goal:
    """`value <= limit` (or `>=`), where the value is ours, or ours divided by that of `against`."""

    sign: str
    limit: float
    against: str | None = None

    def text(self) -> str:
        return f"{self.sign} {self.limit:g}" + (f" x {self.against}" if self.against else "")


@dataclass(slots=True)
class Row:
    """One figure for every subject. `values` may lack subjects that could not be measured."""

    label: str
    unit: str
    values: dict[str, float] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()

    def verdict(self, goal: Goal) -> tuple[float, bool] | None:
        """Our value (or ratio) and whether it reaches `goal`; None if that is unknown."""
        ours = self.values.get("ours", math.nan)
        base = self.values.get(goal.against, math.nan) if goal.against else 1.0
        if math.isnan(ours) or math.isnan(base) or base == 0:
            return None
        ratio = ours / base
        return ratio, ratio <= goal.limit if goal.sign == "<=" else ratio >= goal.limit


def number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    if value and abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def render(rows: Iterable[Row], subjects: Sequence[str]) -> str:
    """The table as Markdown: one row per figure, one column per subject, then the goals and whether they are met."""
    rows = list(rows)
    head = ["", *subjects, "goal", "reached"]
    cells = []
    for row in rows:
        verdicts = [(goal, row.verdict(goal)) for goal in row.goals]
        reached = [f"{found[0]:.3g} {'yes' if found[1] else 'NO'}" for _, found in verdicts if found is not None]
        cells.append(
            [
                f"{row.label}, {row.unit}" if row.unit else row.label,
                *(number(row.values.get(subject)) for subject in subjects),
                "; ".join(goal.text() for goal, _ in verdicts),
                "; ".join(reached),
            ]
        )
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if column in (0, len(head) - 1, len(head) - 2) else text.rjust(width)
            for column, (text, width) in enumerate(zip(texts, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule, *(line(texts) for texts in cells)])


def missed(rows: Iterable[Row]) -> list[str]:
    """The goals that were measured and not reached."""
    found = []
    for row in rows:
        for goal in row.goals:
            verdict = row.verdict(goal)
            if verdict is not None and not verdict[1]:
                found.append(f"{row.label}: {verdict[0]:.3g}, wanted {goal.text()}")
    return found
